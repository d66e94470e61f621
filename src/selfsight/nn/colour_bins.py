"""Colour as a choice among bins: the plane of a and b is cut into cells of 10 x 10 units, of which 313 hold colours.

Zhang, Isola & Efros 2016, "Colorful Image Colorization", section 2: soft codes, rebalancing, annealed mean.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from selfsight import distributed
from selfsight.errors import RecipeError

__all__ = ["ColourBins", "annealed_mean", "centres", "rebalanced", "soft_codes"]

RUNS = {  # a: first and last b. As released: no simple rule gives this list
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100),
    -20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90),
    50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
STEP = 10  # units of a and b between the released bins
SPACINGS = (STEP, 2 * STEP)


class ColourBins(nn.Module):
    """The bins, and how often the training pictures' colours fall into them: `prior` (Q,), uniform until it is set.

    `wanted` (Q,) is the same with the weights of the loss, see `rebalanced`: their mean is its sum.
    """

    prior: Tensor
    wanted: Tensor

    def __init__(self, spacing: int, neighbours: int) -> None:
        super().__init__()
        count = len(centres(spacing)) if spacing in SPACINGS else 0
        if not 1 <= neighbours <= count:
            raise RecipeError(f"spacing must be 10 or 20 (not {spacing}), neighbours 1 to 313 or 78 (not {neighbours})")
        self.spacing, self.neighbours = spacing, neighbours
        self.register_buffer("prior", torch.full((count,), 1 / count))
        self.register_buffer("wanted", torch.full((count,), 1 / count))

    def __len__(self) -> int:
        return len(self.prior)

    def codes(self, ab: Float[Tensor, "*B 2"]) -> tuple[Int[Tensor, "*B k"], Float[Tensor, "*B k"]]:
        """`soft_codes`; sigma is half the spacing, 5 in the paper."""
        return soft_codes(ab, centres(self.spacing), self.neighbours, self.spacing / 2)

    def histogram(self, ab: Float[Tensor, "*B 2"]) -> Float[Tensor, "Q Q"]:
        """The sum of the colours' codes, in float64: a row for the colours that are nearest to each bin."""
        index, shares = self.codes(ab)
        places = (len(self) * index[..., :1] + index).flatten()
        return torch.bincount(places, shares.flatten().double(), minlength=len(self) ** 2).view(len(self), -1)

    def measured(self, histogram: Float[Tensor, "Q Q"], uniform: float) -> None:
        """Set the prior to the shares of a histogram, and what is wanted by it; those of rank 0 on every rank."""
        shares = (histogram / histogram.sum()).float().to(self.prior.device)
        self.prior.copy_(shares.sum(dim=0))
        self.wanted.copy_(rebalanced(self.prior, uniform) @ shares)
        for buffer in (self.prior, self.wanted):
            distributed.copy_first(buffer)

    def mean_colour(self, logits: Float[Tensor, "B Q h w"], temperature: float) -> Float[Tensor, "B 2 h w"]:
        """`annealed_mean` over these bins."""
        return annealed_mean(logits, centres(self.spacing), temperature)

    def entropy(self) -> float:
        """Of the code of a colour at a bin's centre: but for the edge of the gamut, no colour's code has less."""
        _, shares = self.codes(torch.zeros(2))
        return -float((shares * shares.log()).sum())


def centres(spacing: int = STEP) -> Float[Tensor, "Q 2"]:
    """The bins' a and b, a ascending, then b. Twice the spacing keeps every other row and column: 78 of 313."""
    every = [(a, b) for a, (first, last) in RUNS.items() for b in range(first, last + STEP, STEP)]
    return torch.tensor([(a, b) for a, b in every if a % spacing == 0 and b % spacing == 0], dtype=torch.float32)


def soft_codes(
    ab: Float[Tensor, "*B 2"], centres: Float[Tensor, "Q 2"], neighbours: int, sigma: float
) -> tuple[Int[Tensor, "*B k"], Float[Tensor, "*B k"]]:
    """The nearest bins of each colour, nearest first, and their shares: Gaussian in the distance, of sum 1."""
    a, b = centres.to(ab).unbind(dim=1)  # (Q,)
    squared = (ab[..., :1] - a).square() + (ab[..., 1:] - b).square()  # (*B, Q)
    near, index = squared.topk(neighbours, largest=False)
    return index, (near / (-2 * sigma**2)).softmax(dim=-1)


def rebalanced(prior: Float[Tensor, "Q"], uniform: float) -> Float[Tensor, "Q"]:
    """A weight for each bin, 1 on average under the prior: the inverse of the prior mixed with a share of `uniform`."""
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


def annealed_mean(
    logits: Float[Tensor, "B Q h w"], centres: Float[Tensor, "Q 2"], temperature: float
) -> Float[Tensor, "B 2 h w"]:
    """The mean colour of the sharpened prediction: at temperature 1 the plain mean, towards 0 the mode."""
    return torch.einsum("bqhw,qc->bchw", (logits / temperature).softmax(dim=1), centres.to(logits))
