"""How many directions an embedding really uses: measures of its spectrum that need no label."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

FIRST, LAST = 11, 100  # ranks that the power law is fitted to, alpha-ReQ
NARROW = 100  # dimensions below which other ranks are taken: 5 to half of them, ours
FEWEST_RANKS = 5  # that a slope is fitted to
ROUNDING = 1e-12  # share of the largest eigenvalue below which one is noise of float32 features
DELTA, EPSILON = 1e-4, 1e-8  # of LiDAR, Thilak et al. 2023, section 4
ENOUGH = 1.5  # spare views for each dimension: with 1 an even spread in 64 dimensions measures 7, with 2 36, with 10 58


def variances(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "R"]:
    """Eigenvalues of the centred covariance, falling: all that may differ from 0, R = min(N - 1, D). Needs N >= 2."""
    rows = features.astype(np.float64)
    rows -= rows.mean(axis=0)
    gram = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
    found = np.linalg.eigvalsh(gram)[::-1] / (len(rows) - 1)
    return np.clip(found[: len(rows) - 1], 0.0, None)


def participation(values: Float[np.ndarray, "R"]) -> float:
    """How many of the `variances` share the total: (sum)^2 / sum of squares, 1 to R; 1 when there is none."""
    return float(values.sum() ** 2 / (values**2).sum()) if values.any() else 1.0


def alpha_req(values: Float[np.ndarray, "R"]) -> float | None:
    """Decay alpha of the `variances`, of rank^-alpha: about 1 is good, far below too flat, far above collapsing.

    Agrawal et al. 2022: least squares of log value on log rank over ranks 11 to 100, weights 1 / rank; 5 to R / 2 where
    there are fewer than 100. None when fewer than five of these are above rounding.
    """
    first, last = (FIRST, LAST) if len(values) >= NARROW else (5, len(values) // 2)
    ranks = np.arange(first, last + 1)
    found = values[first - 1 : last]
    above = found > ROUNDING * values[0] if len(values) else np.zeros(0, bool)
    if above.sum() < FEWEST_RANKS:
        return None
    x, y = np.log(ranks[above]), np.log(found[above])
    weights = 1 / ranks[above]
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    return float(-(weights * x * y).sum() / (weights * x**2).sum())


def lidar(views: Float[np.ndarray, "N Q D"], delta: float = DELTA) -> float | None:
    """Effective rank of what tells N pictures apart, against how much Q views of one differ: 1 to min(N - 1, D).

    Thilak et al. 2023 (2312.04000): the entropy of the eigenvalues of Sw^-1/2 Sb Sw^-1/2 themselves, neither centred
    nor squared. The paper takes 1,000 pictures and 50 views; fewer give a lower number. None where N (Q - 1) < 1.5 D:
    Sw then has directions of hardly any spread but `delta`, and the value would be of these.
    """
    count, drawn, width = views.shape
    if count < 2 or drawn < 2 or count * (drawn - 1) < ENOUGH * width:
        return None
    rows = views.astype(np.float64)
    means = rows.mean(axis=1)
    between = means - means.mean(axis=0)
    within = (rows - means[:, None]).reshape(-1, width)
    spread = within.T @ within / (count * (drawn - 1)) + delta * np.eye(width)
    values = eigh(between.T @ between / (count - 1), spread, eigvals_only=True)  # those of Sw^-1/2 Sb Sw^-1/2
    values = np.clip(values, 0.0, None)
    if not values.any():
        return 1.0
    share = (values + EPSILON) / (values + EPSILON).sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def intrinsic_dimension(features: Float[np.ndarray, "N D"]) -> float | None:
    """How many dimensions the cloud has near its points: N / sum log(r2 / r1) of distances to the two nearest.

    TwoNN, Facco et al. 2017 (1703.00002v2), by maximum likelihood. Of equal rows one counts. None below three rows.
    """
    rows = np.unique(features.astype(np.float64), axis=0)
    if len(rows) < 3:
        return None
    lengths = (rows**2).sum(axis=1)
    ratios = []
    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024]
        squared = lengths[start : start + 1024, None] + lengths - 2 * block @ rows.T
        squared[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        nearest = np.clip(np.partition(squared, 1, axis=1)[:, :2], 0.0, None)
        kept = nearest[nearest[:, 0] > 0]
        ratios.append(np.log(kept[:, 1] / kept[:, 0]) / 2)
    total = float(np.concatenate(ratios).sum())
    return len(np.concatenate(ratios)) / total if total > 0 else None
