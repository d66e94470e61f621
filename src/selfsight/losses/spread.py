"""How far the views of a picture lie from their centre (Balestriero & LeCun 2025, LeJEPA's prediction term)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["spread"]


def spread(views: Float[Tensor, "B V P"], centres: int) -> Float[Tensor, ""]:
    """Squared distance to the mean of the first `centres` views, mean over pictures, views and dimensions."""
    rows = full(views)
    return (rows - rows[:, :centres].mean(dim=1, keepdim=True)).square().mean()
