"""Decoded pictures kept in memory, so that an epoch after the first decodes nothing where they fit."""

from __future__ import annotations

from threading import Lock

import numpy as np

__all__ = ["ROOM", "Decoded"]

ROOM = 2**30  # bytes of decoded pictures that training keeps: 5,000 of 256 x 256 pixels in colour


class Decoded:
    """First come, kept for good: as many pictures as `room` bytes hold. Safe to use from several threads."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self._kept: dict[int, np.ndarray] = {}
        self._lock = Lock()

    def get(self, row: int) -> np.ndarray | None:
        """The picture of a row, if it is here. Nobody may write to it."""
        return self._kept.get(row)

    def keep(self, row: int, picture: np.ndarray) -> None:
        """Keep it where there is room."""
        with self._lock:
            if row not in self._kept and picture.nbytes <= self.room:
                picture.flags.writeable = False
                self._kept[row] = picture
                self.room -= picture.nbytes
