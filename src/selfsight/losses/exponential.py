"""The exponential criterion of VDVS: c(d) = exp(4 |d|) - 1, for an error d = target - cosine in [-2, 2].

c(0) = 0, c(+-0.25) = e - 1 and c(+-2) = 2980. Its slope at 0 is +-4: the kink never vanishes, so an optimizer with a
fixed rate rattles about the optimum.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["REDUCTIONS", "content_blind", "cost", "exponential"]

REDUCTIONS = ("mean", "sum", "literal")  # grow with the count of errors to the power of 0, 1, 2
STEEPNESS = 4  # the article's


def cost(errors: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """c(d) of every error."""
    return torch.expm1(STEEPNESS * errors.abs())


def exponential(errors: Float[Tensor, "*N"], reduction: str = "mean") -> Float[Tensor, ""]:
    """The criterion over all errors.

    "literal" is what the published line computes. Its two branches are sums over all errors, which are then spread over
    the errors of either sign and summed again: with small errors about N times the sum. So it weighs a term by the
    square of its count, 441 to 1 for 84 pairs beside 4 pictures.
    """
    errors = full(errors)
    if reduction == "literal":
        above, below = (torch.expm1(sign * STEEPNESS * errors).abs().sum() for sign in (1, -1))
        positive = (errors > 0).sum()
        return positive * above + (errors.numel() - positive) * below
    return cost(errors).sum() if reduction == "sum" else cost(errors).mean()


def content_blind(targets: Float[Tensor, "*N"], reduction: str = "mean", count: int = 1) -> float:
    """The least cost of one answer for all of `count` such targets in [0, 1]: what a network pays that looks at no
    picture. By "literal" it is that of many: of 10 it has a few percent more."""
    answers = torch.linspace(0, 1, 101, dtype=targets.dtype, device=targets.device)
    least = min(float(exponential(targets - answer, reduction)) for answer in answers)
    return least * (count / targets.numel()) ** REDUCTIONS.index(reduction)
