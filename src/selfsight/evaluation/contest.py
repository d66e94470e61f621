"""Who is better than whom, asked of many pairs at once: simultaneous 95 % intervals of paired differences.

Twenty comparisons at 5 % each would bring a false claim in most tables. So all pairs share one critical value, the 95 %
quantile of the largest studentised deviation in the same bootstrap resamples (max-t: Westfall & Young 1993, Resampling-
Based Multiple Testing, chapter 2): the chance that any interval misses its true difference is 5 %. Resampled are groups
of test items, the same for all rows. Seeds are too few to resample (three have ten ways): they move a row's mean by
their standard error, normally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit

from selfsight.evaluation import intervals
from selfsight.evaluation.intervals import FEWEST, LEVEL, Interval

RESAMPLES = 4000
NOTHING = 1e-12  # a deviation below this is rounding

Right = Float[np.ndarray, "S Q"]
"""For each seed and each of the same Q questions: answered rightly, or the share of draws in which it was."""


@dataclass(frozen=True)
class Gap:
    """One comparison: mean(first) - mean(second) over seeds and questions, and whether the difference is shown."""

    first: str
    second: str
    difference: float
    interval: Interval  # simultaneous
    shown: bool  # the interval lies off 0, and six groups of questions or more are answered differently

    @property
    def better(self) -> bool:
        """The first is shown to be better."""
        return self.shown and self.difference > 0

    @property
    def worse(self) -> bool:
        """The first is shown to be worse."""
        return self.shown and self.difference < 0


def compared(
    rows: Mapping[str, Right], pairs: Sequence[tuple[str, str]], groups: Int[np.ndarray, "Q"], *, seed: int = 0
) -> list[Gap]:
    """Every pair's difference with intervals that hold all at once.

    The variance of a difference is that over groups of questions and that over the seeds of either row (a row with one
    seed adds nothing, since nothing is known of its luck); degrees of freedom as Satterthwaite 1946 has them, those of
    the luck being the fewer of both rows'.
    """
    if not pairs:
        return []
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    place = {name: number for number, name in enumerate(names)}
    count = intervals.effective(groups)
    items, luck = _deviations([rows[name] for name in names], groups, seed)
    chosen = np.array([[place[first], place[second]] for first, second in pairs])
    gaps = items[chosen[:, 0]] - items[chosen[:, 1]]  # (pairs, R)
    spreads = [_spread(gap, (rows[a], rows[b]), count) for gap, (a, b) in zip(gaps, pairs, strict=True)]
    deviations = np.array([deviation for deviation, _ in spreads])
    moving = deviations > NOTHING
    shaken = (gaps + luck[chosen[:, 0]] - luck[chosen[:, 1]])[moving] / deviations[moving, None]
    critical = float(np.quantile(np.abs(shaken).max(axis=0), LEVEL)) if moving.any() else 0.0
    return [
        _gap(pair, rows, groups, deviation, critical, freedom, len(pairs))
        for pair, (deviation, freedom) in zip(pairs, spreads, strict=True)
    ]


def of_row(right: Right, groups: Int[np.ndarray, "Q"], *, seed: int = 0) -> Interval:
    """95 % interval of one row's mean over seeds and questions: that of `intervals.of_share`, and where seeds differ
    the same with their luck as well."""
    if len(right) > 1 and len(np.unique(groups)) > 1:
        items, _ = _deviations([right], groups, seed)
        deviation, freedom = _spread(items[0], (right,), intervals.effective(groups))
        if deviation > NOTHING:
            return intervals.wilson(float(right.mean()), deviation**2, freedom)
    return intervals.of_share(right.mean(axis=0), groups, seed=seed)


def leading(rows: Mapping[str, Right], groups: Int[np.ndarray, "Q"], *, seed: int = 0) -> dict[str, float]:
    """For each row the share of resamples (of groups and seeds) in which it is the best: how sure an order is."""
    items, luck = _deviations(list(rows.values()), groups, seed)
    means = np.array([right.mean() for right in rows.values()])[:, None] + items + luck
    first = np.bincount(means.argmax(axis=0), minlength=len(rows)) / means.shape[1]
    return dict(zip(rows, first.tolist(), strict=True))


def _deviations(
    rows: Sequence[Right], groups: Int[np.ndarray, "Q"], seed: int
) -> tuple[Float[np.ndarray, "M R"], Float[np.ndarray, "M R"]]:
    """How far each row's mean moves in every resample of the groups (whose variance is widened for few), and by the
    luck of its own seeds."""
    means = np.stack([right.mean(axis=0) for right in rows])
    items = intervals.resampled_means(means, groups, resamples=RESAMPLES, seed=seed) - means.mean(axis=1)[:, None]
    luck = np.random.default_rng((seed, 1)).standard_normal(items.shape)
    luck *= np.sqrt([_luck(right) for right in rows])[:, None]
    return items * np.sqrt(intervals.widening(intervals.effective(groups))), luck


def _luck(right: Right) -> float:
    """Variance of the mean over seeds; 0 for one seed, of whose luck nothing is known."""
    return float(right.mean(axis=1).var(ddof=1)) / len(right) if len(right) > 1 else 0.0


def _spread(items: Float[np.ndarray, "R"], sides: Sequence[Right], count: float) -> tuple[float, float]:
    """Standard deviation of a mean or a difference of two, and its degrees of freedom; `count` groups of one size."""
    parts = [(float(items.var()), max(1.0, count - 1))]
    if seeds := [len(right) - 1 for right in sides if len(right) > 1]:
        # Welch has the sum: in simulation 8 % of tables with three seeds and 19 % with two then made a false claim
        parts.append((sum(map(_luck, sides)), min(seeds)))
    whole = sum(variance for variance, _ in parts)
    uncertain = sum(variance**2 / freedom for variance, freedom in parts)
    return whole**0.5, whole**2 / uncertain if uncertain > 0 else count


def _gap(
    pair: tuple[str, str],
    rows: Mapping[str, Right],
    groups: Int[np.ndarray, "Q"],
    deviation: float,
    critical: float,
    freedom: float,
    family: int,
) -> Gap:
    """The interval: the shared critical value, widened for few groups or seeds as Student's t is."""
    each = rows[pair[0]].mean(axis=0) - rows[pair[1]].mean(axis=0)
    difference = float(each.mean())
    _, member = np.unique(groups, return_inverse=True)
    differing = int((np.bincount(member, np.abs(each)) > NOTHING).sum())
    if deviation > NOTHING:
        half = deviation * float(stdtrit(freedom, ndtr(critical)))
        low, high = difference - half, difference + half
    elif abs(difference) <= NOTHING and not differing:
        low = high = 0.0
    else:  # the same everywhere: as `intervals` has it, at the level that all of the family share
        share = ((1 - LEVEL) / 2 / family) ** (1 / len(np.unique(groups)))
        low, high = (share * difference + (1 - share) * end for end in (-1.0, 1.0))
    interval = max(-1.0, low), min(1.0, high)
    return Gap(*pair, difference, interval, differing >= FEWEST and (low > 0 or high < 0))
