"""Vector difference: the cosine of two crops' embeddings is how much the crops overlap (article, steps 3 to 5)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.boxes import pairs
from selfsight.losses.exponential import exponential
from selfsight.losses.precision import no_autocast, unit

__all__ = ["vector_difference"]


def vector_difference(
    crops: Float[Tensor, "B K P"], overlap: Float[Tensor, "B M"], reduction: str = "mean"
) -> Float[Tensor, ""]:
    """Exponential criterion of IoU - cosine over the pairs of crops of one picture, in the order of `boxes.pairs`.

    `overlap` are the pairs' IoUs. Embeddings may have any length.
    """
    with no_autocast(crops):
        rows = unit(crops)
        first, second = pairs(crops.shape[1], crops.device)
        cosines = (rows @ rows.mT)[:, first, second]  # (B, M)
        return exponential(overlap - cosines, reduction)
