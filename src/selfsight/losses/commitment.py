"""The commitment of an encoder to the code it was given (van den Oord et al. 2017, eq. 3, third term)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["commitment"]


def commitment(vectors: Float[Tensor, "*B P"], codes: Float[Tensor, "*B P"]) -> Float[Tensor, "*B"]:
    """Mean squared distance over the P numbers of a vector; the codes have no gradient."""
    return (full(codes).detach() - full(vectors)).square().mean(dim=-1)
