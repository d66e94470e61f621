"""Calibration against a slow twin, and what is said of confidences that are true, too high and too low."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.evaluation.calibration import BINS, error, judge


def slow_twin(confidence: np.ndarray, correct: np.ndarray) -> float:
    total = 0.0
    for number in range(BINS):
        last = number == BINS - 1
        inside = [
            row
            for row, value in enumerate(confidence)
            if number / BINS <= value and (value < (number + 1) / BINS or last)
        ]
        if inside:
            gap = np.mean([correct[row] for row in inside]) - np.mean([confidence[row] for row in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return float(total)


def drawn(count: int, power: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and answers that are right with that confidence to this power."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.3, 1.0, count)
    return confidence, generator.random(count) < confidence**power


def test_the_error_is_its_definition() -> None:
    confidence, correct = drawn(300)
    assert error(confidence, correct) == pytest.approx(slow_twin(confidence, correct), rel=1e-9)
    assert error(np.ones(5), np.ones(5, bool)) == 0
    assert error(np.ones(5), np.zeros(5, bool)) == 1


@pytest.mark.parametrize(
    ("power", "calibrated", "says"), [(1, True, "no sign"), (2, False, "too sure"), (0.2, False, "not sure enough")]
)
def test_what_is_said(power: float, calibrated: bool, says: str) -> None:
    found = judge(*drawn(1000, power), np.arange(1000))
    assert found["calibrated"] is calibrated
    assert says in found["sentence"]
    assert found["error"] == pytest.approx(error(*drawn(1000, power)))


def test_few_pictures_are_not_blamed() -> None:
    """Confidences that are true pass 19 of 20 times, however few there are."""
    passed = [judge(*drawn(12, seed=seed), np.arange(12))["calibrated"] for seed in range(60)]
    assert sum(passed) >= 50


def test_pictures_that_are_right_together_are_not_blamed() -> None:
    """Thirty things with ten pictures each: confidences are true, and each thing is named rightly or not at once."""
    groups = np.repeat(np.arange(30), 10)
    passed, alone = [], []
    for seed in range(25):
        confidence, right = (values[groups] for values in drawn(30, seed=seed))
        passed.append(judge(confidence, right, groups)["calibrated"])
        alone.append(judge(confidence, right, np.arange(300))["calibrated"])
    assert sum(passed) >= 20
    assert sum(alone) < 8
