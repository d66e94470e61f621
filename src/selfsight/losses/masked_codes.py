"""Name the code of each hidden patch: cross-entropy over masked positions only (Bao et al. 2022, eq. 2)."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from selfsight.losses.precision import full, no_autocast

__all__ = ["masked_cross_entropy"]


def masked_cross_entropy(
    logits: Float[Tensor, "B M V"], codes: Int[Tensor, "B M"], masked: Bool[Tensor, "B M"]
) -> Float[Tensor, ""]:
    """The sum over masked positions, in nats. Divide it by their number in the whole batch, over all ranks."""
    with no_autocast(logits):
        each = cross_entropy(full(logits).flatten(0, 1), codes.flatten(), reduction="none")
        return (each * masked.flatten()).sum()
