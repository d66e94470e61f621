"""Small pictures stay in memory, each once, and what is gone is shown in an export as well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from selfsight.browsing import static
from selfsight.browsing.pictures import Pictures, missing


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


def test_an_export_has_a_stand_in_for_what_is_gone(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("thumbnails", "pictures")]
    for folder in folders:
        folder.mkdir()
    static._pictures(Pictures([str(tmp_path / "gone.png")]), tmp_path, lambda done: None)
    assert [(folder / "0.jpg").read_bytes() for folder in folders] == [missing()] * 2
