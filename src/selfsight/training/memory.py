"""Bytes: what this process holds, as its system counts them, and what a run is going to hold."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from selfsight.errors import TrainingError
from selfsight.recipe import Recipe

__all__ = ["growth", "on_card", "peak", "resident", "size_of"]

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident() -> float:
    """What is resident now; where the system does not tell, the most that was."""
    return _line("VmRSS")


def peak() -> float:
    """The most that was resident so far. On Linux since the program began; getrusage would count its parent in."""
    return _line("VmHWM")


def growth(work: Callable[[], object], device: str = "cpu") -> float:
    """What `work` adds at its largest. Where the system cannot begin to count anew: to the most so far."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        return float(torch.cuda.max_memory_allocated(device) - held)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc: what was freed and is still held would hide what is added
    with suppress(OSError):
        RESET.write_text("5")
    before = resident()
    work()
    return peak() - before


@contextmanager
def on_card(recipe: Recipe) -> Iterator[None]:
    """A card without room for a step is a TrainingError with the remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        least = max(1, recipe.micro_batch // 2)
        raise TrainingError(
            f"{recipe.device} has no room for {recipe.micro_batch} pictures of {recipe.size} px in a step; give "
            f"--micro-batch {least}, which keeps --batch {recipe.batch}, and another --out where the run has begun"
        ) from error


def size_of(tensors: Iterable[Tensor]) -> float:
    """Their bytes, each tensor once."""
    return float(sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values()))


def _line(name: str) -> float:
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    if found := next((line for line in lines if line.startswith(name)), None):  # not each sandbox tells each
        return 1024.0 * int(found.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
