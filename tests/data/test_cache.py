"""Decoded pictures in memory: as many as have room, counted rightly by several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from selfsight.data.cache import Decoded


def test_room_is_never_exceeded() -> None:
    decoded = Decoded(room=1000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: decoded.keep(row % 50, np.zeros(90, np.uint8)), range(400)))
    assert sum(decoded.get(row) is not None for row in range(50)) == 11
    assert decoded.room == 10


def test_without_room_nothing_is_kept() -> None:
    decoded = Decoded()
    decoded.keep(0, np.zeros(1, np.uint8))
    assert decoded.get(0) is None
