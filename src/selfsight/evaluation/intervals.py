"""95 % intervals by the bootstrap over groups of test pictures (Efron & Tibshirani 1993, chapters 8 and 13)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import norm, t

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 4_000_000  # drawn group numbers held at once: 32 MB
FEWEST = 6  # groups that can say anything of a difference: five that all agree have 2 * 0.5^5 > 0.05 in a sign test

Interval = tuple[float, float]


def resampled_means(
    values: Shaped[np.ndarray, "M N"], groups: Int[np.ndarray, "N"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "M R"]:
    """The mean of each row of `values` in every resample, see `resampled_sums`."""
    ones = np.ones((1, values.shape[1]))
    sums = resampled_sums(np.concatenate([values, ones]), groups, resamples=resamples, seed=seed)
    return np.asarray(sums[:-1] / sums[-1])


def resampled_sums(
    values: Shaped[np.ndarray, "M N"], groups: Int[np.ndarray, "N"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "M R"]:
    """The sum of each row of `values` in every resample; whole groups are drawn with replacement.

    All rows see the same resamples, and so do two calls with the same groups and seed: their differences are paired.
    """
    names, member = np.unique(groups, return_inverse=True)
    count = len(names)
    totals = np.stack([np.bincount(member, row.astype(np.float64), minlength=count) for row in values])
    generator = np.random.default_rng(seed)
    found = np.empty((len(values), resamples))
    step = max(1, BLOCK // count)
    for first in range(0, resamples, step):
        drawn = min(step, resamples - first)
        picks = generator.integers(0, count, (drawn, count)) + np.arange(drawn)[:, None] * count
        weights = np.bincount(picks.ravel(), minlength=drawn * count).reshape(drawn, count)
        found[:, first : first + drawn] = totals @ weights.T.astype(np.float64)
    return found


def of_share(values: Shaped[np.ndarray, "N"], groups: Int[np.ndarray, "N"], *, seed: int = 0) -> Interval:
    """Interval of the mean of values in [0, 1], such as what was named rightly.

    With one group nothing is known: (0, 1). Where all groups are alike, see `_of_mean`.
    """
    return _of_mean(values.astype(np.float64), groups, (0.0, 1.0), seed)


def of_difference(
    first: Shaped[np.ndarray, "N"], second: Shaped[np.ndarray, "N"], groups: Int[np.ndarray, "N"], *, seed: int = 0
) -> Interval:
    """Interval of mean(first) - mean(second), both in [0, 1], on the same test pictures (paired).

    With one group nothing is known: (-1, 1). Where all groups are alike, see `_of_mean`.
    """
    return _of_mean(first.astype(np.float64) - second.astype(np.float64), groups, (-1.0, 1.0), seed)


def of_mean(values: Float[np.ndarray, "N"], groups: Int[np.ndarray, "N"], *, seed: int = 0) -> Interval:
    """Interval of the mean of values without bounds. With one group nothing is known: (-inf, inf)."""
    return _of_mean(values, groups, (-np.inf, np.inf), seed)


def of_resampled(found: Float[np.ndarray, "R"], count: int, ends: Interval) -> Interval:
    """Interval of any number that was computed in every resample of `count` groups and lies between `ends`.

    With one group nothing is known; where all resamples agree, see `_alike`.
    """
    if count < 2:
        return ends
    return _alike(float(found[0]), count, ends) if np.ptp(found) < 1e-12 else _percentiles(found, count)


def _alike(value: float, count: int, ends: Interval) -> Interval:
    """What is known when all groups say `value`: that, at this level, groups like these have at least a share of
    tail^(1 / count) (Clopper & Pearson 1934); the rest may lie at either end."""
    share = ((1 - LEVEL) / 2) ** (1 / count)
    low, high = (share * value + (1 - share) * end for end in ends)
    return low, high


def _of_mean(values: Float[np.ndarray, "N"], groups: Int[np.ndarray, "N"], ends: Interval, seed: int) -> Interval:
    """Interval of the mean of values that lie between `ends`. Groups that are all alike give resamples that are."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    if count < 2:
        return ends
    means = np.bincount(member, values, minlength=count) / sizes
    if np.ptp(means) < 1e-12:  # rounding
        return _alike(float(means[0]), count, ends)
    return _percentiles(resampled_means(values[None], groups, seed=seed)[0], count)


def _percentiles(means: Float[np.ndarray, "R"], count: int) -> Interval:
    """Percentiles widened for few groups as Student's t is (Hesterberg 2015, The American Statistician 69, 4.2)."""
    tail = norm.cdf(np.sqrt(count / (count - 1)) * t.ppf((1 - LEVEL) / 2, count - 1))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
