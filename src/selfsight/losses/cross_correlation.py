"""The correlation of every dimension of one view with every dimension of the other should be the identity matrix.

Zbontar et al. 2021 (Barlow Twins), eq. 1 and 2. Dimensions are standardised over the batch, as batch norm does.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full, no_autocast

__all__ = ["cross_correlation"]


def cross_correlation(
    first: Float[Tensor, "B P"], second: Float[Tensor, "B P"], *, eps: float = 1e-5
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """sum_i (1 - C_ii)^2 and sum_{i != j} C_ij^2: the loss is the first plus a small weight times the second.

    Both are sums over dimensions. One that is the same for all of the batch has C_ii = 0. `eps` is batch norm's.
    """
    with no_autocast(first):
        one, other = _standardised(full(first), eps), _standardised(full(second), eps)
        correlation = one.T @ other / len(one)  # (P, P)
        own = correlation.diagonal()
        return (1 - own).square().sum(), correlation.square().sum() - own.square().sum()


def _standardised(rows: Tensor, eps: float) -> Tensor:
    return (rows - rows.mean(dim=0)) / (rows.var(dim=0, correction=0) + eps).sqrt()
