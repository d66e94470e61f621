"""PCA with whitening: the directions of largest variance, each brought to variance 1 (DeepCluster, section 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["whitened"]

CHUNK = 4096  # rows in float64 at once
NOISE = 1e-10  # variance relative to a row's mean square length: below it there is only float32's rounding


def whitened(rows: Float[Tensor, "N D"], components: int) -> Float[Tensor, "N d"]:
    """Rows in their `components` largest principal directions (all D where that is less), largest first.

    Their biased covariance is the identity, but for directions in which the rows do not vary: these become 0. The
    sign of each direction is arbitrary. Computed in float64, returned in the rows' own type and on their device.
    """
    parts = torch.split(rows, CHUNK)
    nothing = rows.new_zeros(1, dtype=torch.float64)
    mean = sum((part.double().sum(dim=0) for part in parts), nothing) / len(rows)
    covariance = sum(((part.double() - mean).T @ (part.double() - mean) for part in parts), nothing) / len(rows)
    variances, axes = torch.linalg.eigh(covariance)  # smallest first
    variances, axes = variances.flip(0)[:components], axes.flip(1)[:, :components]
    length = covariance.trace() + mean.square().sum()  # mean square
    scale = torch.where(variances > NOISE * length, variances.clamp(min=1e-300).rsqrt(), 0.0)
    return torch.cat([((part.double() - mean) @ (axes * scale)).to(rows.dtype) for part in parts])
