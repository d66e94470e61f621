"""Sketched isotropic Gaussian regularisation: along any direction the rows should be as a standard normal variable's.

Balestriero & LeCun 2025 (LeJEPA), arXiv 2511.08544: the test of Epps and Pulley, which compares characteristic
functions, over random directions. Exact Gaussian samples have 1.0525 on average, however many there are; rows that are
all zero have 0.4020 times their number.
"""

from __future__ import annotations

from math import exp
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsight.losses.precision import full, no_autocast

__all__ = ["sigreg"]

KNOTS, LAST = 17, 3.0  # of the trapezoidal rule on [0, 3], which symmetry doubles; released code


def sigreg(rows: Float[Tensor, "*V N P"], directions: Float[Tensor, "P M"]) -> Float[Tensor, ""]:
    """N * integral of |mean exp(i t y) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) for y = rows along a direction, mean over
    directions and views. Directions are unit columns; fresh ones at each step are worth more than many."""
    with no_autocast(rows):
        along = full(rows) @ full(directions)  # (*V, N, M)
        found: Tensor = _Total.apply(along, torch.is_grad_enabled() and along.requires_grad)
        return found


class _Total(torch.autograd.Function):
    """A knot's share of the sum and at once of its slope: cosines and sines of one knot are held, not of all."""

    @staticmethod
    def forward(ctx: Any, along: Tensor, asked: bool) -> Tensor:
        total, slope = along.new_zeros(()), torch.zeros_like(along) if asked else None
        step, count, every = LAST / (KNOTS - 1), along.shape[-2], along.numel()
        for knot in range(1, KNOTS):  # at 0 both functions are 1
            t, share = knot * step, (1 if knot == KNOTS - 1 else 2) * step
            normal, angles = exp(-t * t / 2), t * along
            cosines, sines = angles.cos(), angles.sin_()
            off, imaginary = cosines.mean(dim=-2, keepdim=True) - normal, sines.mean(dim=-2, keepdim=True)  # (*V, 1, M)
            total += share * normal * (off.square() + imaginary.square()).mean()
            if slope is not None:
                slope.addcmul_(cosines, imaginary, value=2 * share * normal * t * count / every)
                slope.addcmul_(sines, off, value=-2 * share * normal * t * count / every)
        ctx.slope = slope
        return count * total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None]:
        return None if ctx.slope is None else ctx.slope * upstream[0], None
