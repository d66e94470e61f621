"""How far a score that needs no labels can be trusted: whether it ranks encoders as their measured quality does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata, t

from selfsight.evaluation.intervals import FEWEST, LEVEL, RESAMPLES

__all__ = ["rank_agreement"]


def rank_agreement(scores: Sequence[float], quality: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """Spearman's rank correlation of `scores` with `quality` over the same items, and its 95 % interval.

    Items are encoders: looks of one run, or runs of several methods. From 1 (the same order) to -1 (the opposite); give
    scores of which less is better negated. The interval is the bootstrap's over items. Both are None below six items,
    and where either side has one value only. ValueError when the two differ in length or are not finite.
    """
    if len(scores) != len(quality):
        raise ValueError(f"{len(scores)} scores and {len(quality)} values of quality are not of the same items")
    pairs = np.array([scores, quality], np.float64)  # (2, N)
    if not np.isfinite(pairs).all():
        raise ValueError("scores and quality must be finite; leave out the items that have none")
    count = pairs.shape[1]
    if count < FEWEST or (np.ptp(pairs, axis=1) == 0).any():
        return {"spearman": None, "interval": None, "count": count}
    picks = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    found = _spearman(*pairs[:, picks])
    found = found[np.isfinite(found)]  # a resample of one item only says nothing
    tail = norm.cdf(np.sqrt(count / (count - 1)) * t.ppf((1 - LEVEL) / 2, count - 1))  # as in intervals
    low, high = np.quantile(found, [tail, 1 - tail])
    return {"spearman": float(_spearman(*pairs[:, None])[0]), "interval": [float(low), float(high)], "count": count}


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks (ties share their mean rank) of each row of (R, N); NaN for a constant one."""
    ranks = [rankdata(rows, axis=1) for rows in (first, second)]
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
