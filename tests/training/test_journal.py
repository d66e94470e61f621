"""The journal holds each step once, whatever was torn, and loses no line to a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from selfsight.errors import DiskError
from selfsight.training import journal
from selfsight.training.journal import Journal


def steps(folder: Path, name: str = "metrics.jsonl") -> list[int]:
    return [json.loads(line)["step"] for line in (folder / name).read_text().splitlines()]


def filled(folder: Path, last: int) -> None:
    made = Journal(folder, 0)
    for step in range(1, last + 1):
        made.metric(step, loss=0.1 * step)
        made.time(step, images_per_second=1.0)
    made.close()


def test_lines_come_back(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[2] == {"step": 3, "loss": 0.1 * 3}
    assert steps(tmp_path, "timing.jsonl") == [1, 2, 3]


def test_going_on_drops_what_lies_after(tmp_path: Path) -> None:
    filled(tmp_path, 5)
    made = Journal(tmp_path, 3)
    made.metric(4, loss=9.0)
    made.close()
    assert steps(tmp_path) == [1, 2, 3, 4]
    assert steps(tmp_path, "timing.jsonl") == [1, 2, 3]
    Journal(tmp_path, -1).close()
    assert steps(tmp_path) == []


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', "garbage\n", "{}\n", '"step"\n', '{"step": 3}'])
def test_a_torn_line_is_dropped(tmp_path: Path, tail: str) -> None:
    filled(tmp_path, 2)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(tail)
    made = Journal(tmp_path, 9)
    made.metric(3, loss=1.0)
    made.sync()
    assert steps(tmp_path) == [1, 2, 3]


def test_nothing_is_written_before_it_is_synced(tmp_path: Path) -> None:
    made = Journal(tmp_path, 0)
    made.metric(1, loss=1.0)
    assert steps(tmp_path) == []
    made.sync()
    made.sync()
    assert steps(tmp_path) == [1]


def test_a_full_disk_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Journal(tmp_path, 0)
    made.metric(1, loss=1.0)
    made.sync()
    made.metric(2, loss=1.0)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        made.sync()
    assert steps(tmp_path) == [1], "half of what was to be written must not stay"
    made.close()
    monkeypatch.undo()
    made.metric(3, loss=1.0)
    made.sync()
    assert steps(tmp_path) == [1, 2, 3]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.checkpoints, "replace_file", full)
    with pytest.raises(DiskError, match=r"metrics\.jsonl.*No space"):
        Journal(tmp_path, 0)


def test_other_ranks_keep_nothing() -> None:
    made = Journal(None, 0)
    made.metric(1, loss=1.0)
    made.time(1)
    made.sync()
    made.close()
