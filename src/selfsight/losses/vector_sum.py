"""Vector sum: the cosine of a picture and the sum of its crops is the share that they cover (article, steps 6 to 9)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.exponential import exponential
from selfsight.losses.precision import full, unit

__all__ = ["vector_sum"]


def vector_sum(
    whole: Float[Tensor, "B P"],
    crops: Float[Tensor, "B K P"],
    covered: Float[Tensor, "B"],
    reduction: str = "mean",
    *,
    normalize_before_sum: bool = False,
) -> Float[Tensor, ""]:
    """Exponential criterion of the covered share - cosine, over pictures.

    The sum is over embeddings as they are, so a long one counts more, or over unit vectors (`normalize_before_sum`).
    """
    total = (unit(crops) if normalize_before_sum else full(crops)).sum(dim=1)
    cosines = (unit(whole) * unit(total)).sum(dim=-1)  # (B,)
    return exponential(covered - cosines, reduction)
