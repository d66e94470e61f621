"""Every dimension should vary over the batch, and no two together (Bardes, Ponce & LeCun 2022, VICReg, eq. 1 to 4)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu

from selfsight.losses.precision import full, no_autocast

__all__ = ["covariance", "variance"]


def variance(rows: Float[Tensor, "B P"], *, eps: float = 1e-4) -> Float[Tensor, ""]:
    """By how much the dimensions' standard deviations fall short of 1, on average: 0.99 where all rows are the same."""
    return relu(1 - (full(rows).var(dim=0) + eps).sqrt()).mean()


def covariance(rows: Float[Tensor, "B P"]) -> Float[Tensor, ""]:
    """sum_{i != j} Cov_ij^2 / P, with Cov over B - 1."""
    with no_autocast(rows):
        centred = full(rows) - full(rows).mean(dim=0)
        found = centred.T @ centred / (len(rows) - 1)  # (P, P)
        return (found.square().sum() - found.diagonal().square().sum()) / rows.shape[1]
