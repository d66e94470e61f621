"""How far a reconstruction is from its picture, beside how much there is to reconstruct."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["error_and_power"]


def error_and_power(
    made: Float[Tensor, "B ..."], pixels: Float[Tensor, "B ..."]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The sum of squared errors, and the sum of squared pixels.

    Their quotient over the whole batch is the share that is not explained: 1 for the constant prediction 0, which
    normalised pixels have for their mean, 0 for the picture itself. Contrast and number of channels do not matter to
    it, so that one weight of a second term does for all pictures.
    """
    return (full(made) - full(pixels)).square().sum(), full(pixels).square().sum().clamp(min=1e-12)
