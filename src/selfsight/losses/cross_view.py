"""How well either view tells the other's target: BYOL's loss is 4 - 4 times it, SimSiam's the negative of it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["cross_view_cosine"]


def cross_view_cosine(predictions: Float[Tensor, "B 2 P"], targets: Float[Tensor, "B 2 P"]) -> Float[Tensor, ""]:
    """Cosine of a view's prediction with the other view's target, mean over pictures and both directions.

    Rows are unit vectors. Targets should carry no gradient: where they do, all pictures soon have the same vector.
    """
    return (full(predictions) * full(targets).flip(1)).sum(dim=-1).mean()
