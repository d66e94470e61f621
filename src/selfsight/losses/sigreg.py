"""Sketched isotropic Gaussian regularisation: along any direction the rows should be as a standard normal variable's.

Balestriero & LeCun 2025 (LeJEPA), arXiv 2511.08544: the test of Epps and Pulley, which compares characteristic
functions, over random directions. Exact Gaussian samples have 1.0525 on average, however many there are; rows that are
all zero have 0.4020 times their number.
"""

from __future__ import annotations

from math import exp

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full, no_autocast

__all__ = ["sigreg"]

KNOTS, LAST = 17, 3.0  # of the trapezoidal rule on [0, 3], which symmetry doubles; released code


def sigreg(rows: Float[Tensor, "*V N P"], directions: Float[Tensor, "P M"]) -> Float[Tensor, ""]:
    """N * integral of |mean exp(i t y) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) for y = rows along a direction, mean over
    directions and views. Directions are unit columns; fresh ones at each step are worth more than many."""
    with no_autocast(rows):
        along = full(rows) @ full(directions)  # (*V, N, M)
        total = along.new_zeros(())
        step = LAST / (KNOTS - 1)
        for knot in range(1, KNOTS):  # at 0 both functions are 1
            t, share = knot * step, (1 if knot == KNOTS - 1 else 2) * step
            normal = exp(-t * t / 2)
            real, imaginary = (t * along).cos().mean(dim=-2), (t * along).sin().mean(dim=-2)  # (*V, M)
            total = total + share * normal * ((real - normal).square() + imaginary.square()).mean()
        return rows.shape[-2] * total
