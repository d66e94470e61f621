"""Pictures by their number, made anew for the page: small, upright, without any of the file's metadata."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import BoundedSemaphore, Lock

import numpy as np

from selfsight.data.decode import decode, displayed
from selfsight.views.sheet import jpeg

__all__ = ["LARGE", "SMALL", "Pictures", "missing"]

SMALL, LARGE = 96, 640  # longer side, pixels
ROOM = 64 << 20  # bytes of small pictures that stay in memory
AT_ONCE = 4  # pictures that are decoded: one of 89 megapixels needs a quarter of a GiB
BLANK = (226, 228, 232)


class Pictures:
    """The files of a collection. Safe in several threads."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._few = BoundedSemaphore(AT_ONCE)

    def small(self, number: int) -> bytes:
        """A thumbnail as JPEG; raises what `made` does, and keeps only what is one."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        made = self.made(number, SMALL)
        with self._lock:
            if number not in self._kept:  # somebody else may have asked for it meanwhile
                self._kept[number] = made
                self._size += len(made)
            while self._size > ROOM:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made

    def made(self, number: int, side: int) -> bytes:
        """The picture as JPEG, its longer side at most `side` pixels. ImageError when it is gone or cannot be decoded,
        AddressError when nothing answers where it is: later it may be there."""
        with self._few:
            return jpeg(displayed(decode(self.paths[number])), side)


def missing() -> bytes:
    """What is shown for a picture that is not there: a grey square with a cross."""
    drawn = np.full((SMALL, SMALL, 3), BLANK, np.uint8)
    line = np.arange(SMALL // 3, SMALL - SMALL // 3)
    for shift in (-1, 0, 1):
        drawn[line, line + shift] = drawn[line, SMALL - 1 - line + shift] = 150
    return jpeg(drawn, SMALL)
