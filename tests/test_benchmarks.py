"""The benchmarks still start, their small parts do what they say, and docs/benchmarks.md shows what was measured."""

from __future__ import annotations

import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOME = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(HOME.glob("*.py"))
COMMANDS = [script for script in SCRIPTS if '__name__ == "__main__"' in script.read_text(encoding="utf-8")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a script as a command with these arguments, or without any as a module; returns its names."""
    monkeypatch.syspath_prepend(HOME)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # views.py sets it, and monkeypatch puts it back

    def run(script: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with warnings.catch_warnings(action="ignore"):  # lightly's and torchvision's own
            return runpy.run_path(str(HOME / script), run_name="__main__" if arguments else Path(script).stem)

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_loads(script: Path, started: Callable[..., dict[str, Any]]) -> None:
    assert started(script.name)["__doc__"]


@pytest.mark.parametrize("script", COMMANDS, ids=lambda script: script.name)
def test_help(script: Path, started: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        started(script.name, "--help")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_page_shows_the_results(started: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SystemExit) as ended:
        started("table.py", "--check")
    assert ended.value.code == 0, ended.value.code


def test_crops_are_the_same_every_time(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    crops = started("photographs.py")["crops"]
    first, second = (crops(tmp_path / name, count=4, side=16) for name in ("first", "second"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(files) == 4
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_a_run_that_has_not_begun_is_whole(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    check = started("killsweep.py")["check"]
    assert check(tmp_path / "run") == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("no recipe")
    assert check(tmp_path / "run") == 2


def test_one_difference_fails_the_sweep(started: Callable[..., dict[str, Any]]) -> None:
    names = started("killsweep.py")
    row = {"method": "moco", "workers": 0, "points": 3, "killed": 3, "training": 1, "identical": 3, "whole": 3}
    row |= {"orphans": 0, "deterministic": True}
    assert names["passed"](row)
    assert not names["passed"](row | {"identical": 2})
    assert names["table"]({"sweeps": [row, row | {"identical": 2}]}).endswith("5 of 6 byte-identical.")


def test_retrieval_across(started: Callable[..., dict[str, Any]]) -> None:
    """Two vendors, three emoji; the second vendor's last one looks like the first vendor's second."""
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0.1], [0, 1, 0.2], [0, 1, 0]], np.float32)
    right = started("quality.py")["across"](features, np.array(list("abcabc")), np.array(list("xxxyyy")))
    assert right.tolist() == [True, False, False, True, True, False]


def test_ratios(started: Callable[..., dict[str, Any]]) -> None:
    speeds = {
        "ours": [90.0, 99.0],
        "bare": [100.0, 100.0],
        "lightly_equal": [60.0, 60.0],
        "lightly_defaults": [60.0] * 2,
    }
    found = started("end_to_end.py")["ratios"](speeds)
    assert found["bare"]["median"] == pytest.approx(0.945)
    assert found["bare"]["reached"]
    assert not found["lightly_defaults"]["reached"]


def test_labels_are_compared_on_the_same_seeds(started: Callable[..., dict[str, Any]]) -> None:
    """The second seed has no partner; of the other side's two readings the better one counts, though it comes last."""
    names = started("supcon.py")

    def row(kind: str, seed: int, **right: list[int]) -> dict[str, Any]:
        packed = {name: np.packbits(hits).tobytes().hex() for name, hits in right.items()}
        accuracy = {name: float(np.mean(hits)) for name, hits in right.items()}
        shared = {"task": "emoji_free", "encoder": "x", "size": 32, "images": 10, "minutes": 1.0, "test": 10}
        arm = {"views": 2, "percent": 100, "alone": False, "groups": "0 1 2 3 4 5 6 7 8 9"}
        return {**shared, **arm, "kind": kind, "seed": seed, "right": packed, "accuracy": accuracy}

    rows = [row("SupCon", seed, probe=[1] * 9 + [0]) for seed in (0, 1)]
    rows += [row("cross-entropy", 0, probe=[1] * 3 + [0] * 7, classifier=[0] * 2 + [1] * 8)]
    shown = names["table"]({"rows": rows})
    assert "| emoji_free | SupCon | 0.900; 1.0 | cross-entropy | 0.800; 1.0 | +0.100 (" in shown
    assert shown.endswith("one of the tasks: reached.")
