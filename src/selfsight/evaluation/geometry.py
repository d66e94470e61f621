"""How embeddings lie in space: measures that need no label."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from selfsight.evaluation import spectrum
from selfsight.neighbours import unit

EPSILON = 1e-7  # RankMe, Garrido et al. 2023 (2210.02885), equation 1
ROWS = 2048  # of the fixed subset: four times the width of a ResNet-18, as RankMe asks
TILE = 1024


def rankme(features: Float[np.ndarray, "N D"]) -> float:
    """Effective rank: exp of the entropy of the singular values' shares, features neither centred nor normalised.

    From 1 (all on one line) to min(N, D). Garrido et al. 2023 (2210.02885), equation 1. All zeros: 1.
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    if not values.any():
        return 1.0
    share = values / values.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]) -> float:
    """Mean squared distance of two views of the same picture on the unit sphere, 0 to 4; lower is closer.

    Wang & Isola 2020 (2005.10242), equation 1 with exponent 2.
    """
    gap = unit(first.astype(np.float64)) - unit(second.astype(np.float64))
    return float((gap**2).sum(axis=1).mean())


def uniformity(features: Float[np.ndarray, "N D"]) -> float:
    """log of the mean over pairs of exp(-2 * squared distance), on the unit sphere: 0 collapsed, about -4 spread out.

    Wang & Isola 2020 (2005.10242), equation 2 with t = 2. Needs N >= 2.
    """
    rows = unit(features.astype(np.float64))
    total = 0.0
    for start in range(0, len(rows), TILE):
        cosines = rows[start : start + TILE] @ rows.T
        total += float(np.exp(4.0 * cosines - 4.0).sum())  # ||x - y||^2 = 2 - 2 cos
    pairs = len(rows) * (len(rows) - 1)
    itself = float(np.exp(4.0 * (rows**2).sum(axis=1) - 4.0).sum())
    return float(np.log((total - itself) / pairs))


def mean_cosine(features: Float[np.ndarray, "N D"]) -> float:
    """Mean cosine of two different rows; towards 1 under collapse. Needs N >= 2."""
    rows = unit(features.astype(np.float64))
    itself = float((rows**2).sum())
    return (float((rows.sum(axis=0) ** 2).sum()) - itself) / (len(rows) * (len(rows) - 1))


def feature_std(features: Float[np.ndarray, "N D"]) -> float:
    """Mean over dimensions of the (population) std of unit rows, times sqrt(D): about 1 spread out, 0 collapsed.

    Chen & He 2021 (2011.10566), section 4.1.
    """
    rows = unit(features.astype(np.float64))
    return float(rows.std(axis=0).mean() * np.sqrt(rows.shape[1]))


def subset(count: int, limit: int = ROWS) -> np.ndarray:
    """Indices of at most `limit` rows, evenly spaced: the same for every row of a table."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def label_free(features: Float[np.ndarray, "N D"]) -> dict[str, float | int]:
    """What one cloud's rows say, at most 2,048 evenly spaced ones, with the shape that the numbers depend on.

    `alpha_req` and `intrinsic_dimension` are left out where there is too little to fit them to.
    """
    rows = features[subset(len(features))]
    measured: dict[str, float | int] = {"rows": len(rows), "width": rows.shape[1], "rankme": rankme(rows)}
    if len(rows) < 2:
        return measured
    values = spectrum.variances(rows)
    found = {"alpha_req": spectrum.alpha_req(values), "participation": spectrum.participation(values)}
    found |= {"intrinsic_dimension": spectrum.intrinsic_dimension(rows)}
    found |= {"uniformity": uniformity(rows), "mean_cos": mean_cosine(rows), "std": feature_std(rows)}
    return measured | {name: value for name, value in found.items() if value is not None}


def of_views(first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]) -> dict[str, float]:
    """What two views of the same pictures say: `alignment`, and `lidar` where they are enough for the dimensions."""
    found = {"alignment": alignment(first, second), "lidar": spectrum.lidar(np.stack([first, second], axis=1))}
    return {name: value for name, value in found.items() if value is not None}
