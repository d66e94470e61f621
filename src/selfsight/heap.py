"""Memory that was freed stays with the process while it computes, in place of going back to the system at once.

A network frees what it took in every step, and the system would give it out anew, page by page and zeroed: on one
processor a tenth of the time of a training step. Only glibc is asked; elsewhere nothing changes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["kept"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt(3)
NEVER, LARGEST = -1, 32 << 20  # the most that may come from the heap; what is larger is mapped apart as ever
USUAL = 64 << 20  # bytes at the end of the heap that glibc itself comes to leave there


@contextmanager
def kept() -> Iterator[None]:
    """While this lasts; afterwards all that is free goes back."""
    libc = ctypes.CDLL(None)
    with suppress(AttributeError):
        libc.mallopt(MMAP_THRESHOLD, LARGEST)
        libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        with suppress(AttributeError):
            libc.mallopt(TRIM_THRESHOLD, USUAL)
            libc.malloc_trim(0)
