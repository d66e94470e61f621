"""Bytes that this process holds, as its system counts them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["growth", "peak", "resident"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> float:
    """What is resident now; where the system does not tell, the most that was."""
    return _line("VmRSS")


def peak() -> float:
    """The most that was resident so far. On Linux since the program began; getrusage would count its parent in."""
    return _line("VmHWM")


def growth(work: Callable[[], object]) -> float:
    """What `work` adds at its largest. Where the system cannot begin to count anew: to the most so far."""
    with suppress(OSError):
        RESET.write_text("5")
    before = resident()
    work()
    return peak() - before


def _line(name: str) -> float:
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(name))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
