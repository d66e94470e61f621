"""Whether a classifier is right as often as it says it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 15  # equal widths of confidence, Guo et al. 2017, arXiv 1706.04599, section 4
DRAWS = 200  # of what chance makes of it


def error(confidence: Float[np.ndarray, "N"], correct: Bool[np.ndarray, "N"]) -> float:
    """Expected calibration error: |share that is right - mean confidence| in each bin, weighted by its pictures."""
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(place, correct - confidence)).sum() / len(confidence))


def judge(
    confidence: Float[np.ndarray, "N"], correct: Bool[np.ndarray, "N"], groups: Int[np.ndarray, "N"], seed: int = 0
) -> dict[str, Any]:
    """The error, and the 95th percentile of what it would be if every confidence were true: chance alone makes some.

    Bröcker & Smith 2007, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22. A group has
    one chance: its pictures are right together, as far as their confidences let them.
    """
    generator = np.random.default_rng(seed)
    names, member = np.unique(groups, return_inverse=True)
    draws = [error(confidence, generator.random(len(names))[member] < confidence) for _ in range(DRAWS)]
    found, usual = error(confidence, correct), float(np.quantile(draws, 0.95))
    stated, right = float(confidence.mean()), float(correct.mean())
    sure = "too sure" if stated > right else "not sure enough"
    said = "no sign that confidence is off" if found <= usual else f"the classifier is {sure}"
    sentence = (
        f"Confidence is {100 * stated:.1f} % on average where {100 * right:.1f} % are right; expected calibration "
        f"error {found:.3f}, of which chance alone explains up to {usual:.3f}: {said}."
    )
    return {"error": found, "chance": usual, "confidence": stated, "calibrated": found <= usual, "sentence": sentence}
