"""Schedules against their check values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfsight.training.schedule import cosine, rate

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["schedule"]


@pytest.mark.parametrize(("step", "expected"), CHECK["expected"].items())
def test_check_values(step: str, expected: float) -> None:
    inputs = CHECK["inputs"]
    factor = rate(int(step) / inputs["total"], inputs["warmup"] / inputs["total"])
    assert inputs["base"] * factor == pytest.approx(expected, abs=1e-12)


def test_decay_grows_by_the_same_cosine() -> None:
    assert cosine(0.5, 0.04, 0.4) == pytest.approx(CHECK["wd_cosine"]["0.04->0.4 at halfway"])


def test_ends() -> None:
    assert rate(0, 0) == 1
    assert rate(1, 0, floor=0.001) == pytest.approx(0.001)
    assert rate(1, 1) == 1
    assert rate(0.5, 1) == 0.5
