"""Small pictures stay in memory, each once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from selfsight.browsing.pictures import Pictures


def test_two_that_ask_for_one_at_once_keep_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2, timeout=60)

    def made(pictures: Pictures, number: int, side: int) -> bytes:
        both.wait()
        return bytes(100)

    monkeypatch.setattr(Pictures, "made", made)
    pictures = Pictures(["a.png"])
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(pictures.small, [0, 0])) == [bytes(100)] * 2
    assert pictures._size == sum(map(len, pictures._kept.values())) == 100
