"""Tell the pixels of hidden patches (He et al. 2022, MAE)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["masked_pixels", "standardised"]


def standardised(patches: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
    """Each patch less its mean, over its standard deviation (unbiased, 1e-6 added to the variance; released code)."""
    rows = full(patches)
    return (rows - rows.mean(dim=-1, keepdim=True)) / (rows.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def masked_pixels(told: Float[Tensor, "B M P"], patches: Float[Tensor, "B M P"]) -> Float[Tensor, ""]:
    """Squared error, mean over hidden patches, of which every picture has as many, and their pixels."""
    return (full(told) - full(patches)).square().mean()
