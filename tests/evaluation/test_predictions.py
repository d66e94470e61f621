"""One row for each file, whatever its name; what could not be read says why; nothing is half written."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest

from selfsight.data.source import Listing, Row
from selfsight.errors import DiskError, RunError
from selfsight.evaluation import predictions

NAMES = ["plain.png", 'two\nlines, "quoted".png', "تصوير ‮gnp.png", "=1+1.png", "\udcff.png", "gone.png"]
GOOD = ["ant", "0.900000", "bee", "0.100000", "", "", ""]


def test_every_name_survives(tmp_path: Path) -> None:
    listing = Listing(tuple(Row(f"/pictures/{name}", name) for name in NAMES), ("pictures",))
    lines = {f"/pictures/{name}": GOOD for name in reversed(NAMES[:-1])}
    lines["/elsewhere/refused.png"] = ["", "", "", "", "", "", "empty"]
    lines["/pictures/gone.png"] = ["", "", "", "", "", "", "missing: no such file"]
    found = predictions.write(tmp_path / "new" / "out.csv", lines, listing)
    text = (tmp_path / "new" / "out.csv").read_bytes().decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert tuple(head) == predictions.HEADS
    escaped = [*NAMES[:3], "./=1+1.png", "\\udcff.png", "gone.png", "/elsewhere/refused.png"]  # as in bad_files.csv
    assert [row[0] for row in rows] == escaped
    assert [row[1:] for row in rows[:5]] == [GOOD] * 5
    assert rows[5][1:] == ["", "", "", "", "", "", "missing: no such file"]
    assert found == {
        "out": str(tmp_path / "new" / "out.csv"),
        "pictures": 5,
        "unreadable": 2,
        "predicted": {"ant": 5},
    }


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is a folder; name a file, such as .*predictions\.csv"):
        predictions.target(tmp_path)
    assert predictions.target(tmp_path / "a.csv") == tmp_path / "a.csv"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Listing((Row("/pictures/a.png", "a.png"),), ("pictures",))
    predictions.write(tmp_path / "out.csv", {"/pictures/a.png": GOOD}, listing)
    before = (tmp_path / "out.csv").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match="choose another --out"):
        predictions.write(tmp_path / "out.csv", {}, listing)
    assert (tmp_path / "out.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_the_columns_fit_three_classes() -> None:
    assert len(predictions.HEADS) == 1 + 2 * predictions.NAMED + 1
    assert np.unique(predictions.HEADS).size == len(predictions.HEADS)
