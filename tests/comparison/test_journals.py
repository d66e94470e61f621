"""True seconds and curves, from what runs write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfsight.comparison import journals


def write(folder: Path, times: list[tuple[int, float]], **quality: float) -> None:
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [{"step": step, "seconds": seconds} for step, seconds in times]
    (folder / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "sec')
    looks = [{"step": int(step[1:]), "quality": value} for step, value in quality.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in looks))


def test_the_clock_of_looks_and_saves(tmp_path: Path) -> None:
    """Quality is known at looks only; what a kill tore is left out."""
    write(tmp_path / "run", [(0, 1.0), (10, 11.0), (14, 15.0), (20, 19.0)], s0=0.1, s10=0.2, s20=0.3)
    assert journals.clock(tmp_path / "run") == [(0, 1.0), (10, 11.0), (14, 15.0), (20, 19.0)]
    assert journals.curve(tmp_path / "run") == [(1.0, 0.1), (11.0, 0.2), (19.0, 0.3)]


def test_what_was_trained_before_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "run", [(0, 1.0), (10, 5.0)], s0=0.1, s10=0.2)
    write(tmp_path / "run" / "stages" / "x", [(0, 2.0), (5, 7.0)])
    write(tmp_path / "run" / "stages" / "x" / "stages" / "y", [(0, 2.0), (5, 3.0)])
    assert journals.seconds(tmp_path / "run") == 15.0
    assert journals.curve(tmp_path / "run") == [(11.0, 0.1), (15.0, 0.2)]


def test_what_was_said_of_a_run(tmp_path: Path) -> None:
    """By methods before training, by the guard in it; first what was trained first."""
    for folder, lines in (
        (tmp_path, [{"step": 0, "sentence": "too few"}, {"step": 2, "loss": 1.0}, {"step": 50, "sentence": "alike"}]),
        (tmp_path / "stages" / "vq", [{"step": 9, "alarm": "one_code", "sentence": "one code"}]),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    expected = [("vq, step 9", "one code"), ("before training", "too few"), ("step 50", "alike")]
    assert list(journals.warnings(tmp_path)) == expected
    assert list(journals.warnings(tmp_path / "nowhere")) == []


def test_nothing_is_zero(tmp_path: Path) -> None:
    assert journals.seconds(tmp_path) == 0.0
    assert journals.curve(tmp_path) == []
