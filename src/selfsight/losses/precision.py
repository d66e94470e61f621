"""The precision every formula is computed in: float32 at least, whatever autocast is around it.

A bf16 similarity has 8 bits of mantissa; divided by a temperature of 0.07 its rounding alone moves a logit by 0.05.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, autocast
from torch.nn.functional import normalize

__all__ = ["full", "no_autocast", "unit"]


def full(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 when it is that already."""
    return tensor.double() if tensor.element_size() == 8 else tensor.float()


def no_autocast(tensor: Tensor) -> autocast:
    """A context in which products keep the precision of their arguments."""
    return autocast(tensor.device.type, enabled=False)


def unit(rows: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
    """Rows of length 1 in full precision; a row shorter than 1e-12 is divided by 1e-12, so zero stays zero."""
    with no_autocast(rows):
        return normalize(full(rows), dim=-1, eps=1e-12)
