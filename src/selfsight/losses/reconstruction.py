"""How far a reconstruction is from its picture, beside how much there is to reconstruct."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["error_and_power"]

FAINT = 1e-4  # mean square about the mean, below which normalised pixels vary by less than a level of 255


def error_and_power(
    made: Float[Tensor, "B L P"], pixels: Float[Tensor, "B L P"], mean: Float[Tensor, "C"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The sum of squared errors, and that of squared distances to the `mean` colour; channels vary fastest in a patch.

    With the mean of the whole batch their quotient is the share that is not explained: 1 for drawing that colour
    everywhere, 0 for the picture itself. Contrast and number of channels do not matter to it, so that one weight of a
    second term does for all pictures.
    """
    apart = full(pixels).reshape(-1, len(mean)) - mean
    return (full(made) - full(pixels)).square().sum(), apart.square().sum().clamp(min=FAINT * pixels.numel())
