"""Pull and push: rows of one identity should have an inner product of 1, rows of two identities one of at most 0.

Every function brings its rows to unit length. Pairs are those off the diagonal, told apart by labels, so the order of
the rows does not matter; `literal` alone goes by their order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import relu

from selfsight.losses import tiles
from selfsight.losses.precision import no_autocast, unit

__all__ = ["PAIRS", "PENALTIES", "PUSHES", "literal", "pull", "push"]

PAIRS = ("all", "first", "centroid")
PENALTIES: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {  # of an inner product s in [-1, 1], and its slope
    "hinge": lambda s: (relu(s), (s > 0).to(s.dtype)),
    "squared_hinge": lambda s: (relu(s).square(), 2 * relu(s)),
    "linear": lambda s: (s, torch.ones_like(s)),
    "minus_one": lambda s: (1 + s, torch.ones_like(s)),  # the distance to -1; the gradient of linear
}
PUSHES = (*PENALTIES, "literal")


def pull(features: Float[Tensor, "B P"], labels: Int[Tensor, "B"], *, margin: float = 0.0) -> Float[Tensor, ""]:
    """Mean of 1 - s over the pairs of two rows with the same label; 0 when there is no such pair.

    A pair with s above 1 - `margin` is close enough and counts 0, so that a class may keep some spread.
    """

    def cost(scores: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
        near = 1 - scores
        where = labels[strip, None] == labels
        where.diagonal(strip.start).fill_(False)  # a row is no pair with itself
        if margin:
            where &= near >= margin
        return torch.where(where, near, 0).sum(), -where.to(near.dtype)

    with no_autocast(features):
        rows = unit(features)
        sizes: Tensor = torch.unique(labels, return_counts=True)[1]
        return tiles.total(cost, rows, rows) / (sizes.square().sum() - len(rows)).clamp(min=1)


def push(
    features: Float[Tensor, "B P"], labels: Int[Tensor, "B"], *, pairs: str = "all", penalty: str = "hinge"
) -> Float[Tensor, ""]:
    """Mean penalty of s over the pairs of two rows with different labels; 0 when there is no such pair.

    `pairs` are of all rows, of the first row of each label, or of the centroid (the unit mean) of each label.
    """
    names, identities, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    with no_autocast(features):
        rows = unit(features)
        if pairs == "first":
            place = torch.arange(len(rows), device=rows.device)
            rows = rows[place.new_zeros(len(names)).scatter_reduce(0, identities, place, "amin", include_self=False)]
        elif pairs == "centroid":
            rows = unit(rows.new_zeros(len(names), rows.shape[1]).index_add(0, identities, rows))
        if pairs != "all":
            identities, sizes = torch.arange(len(names), device=rows.device), torch.ones_like(sizes)

        def cost(scores: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
            where = identities[strip, None] != identities
            values, slopes = PENALTIES[penalty](scores)
            return torch.where(where, values, 0).sum(), torch.where(where, slopes, 0)

        count: Tensor = len(rows) ** 2 - sizes.square().sum()
        return tiles.total(cost, rows, rows) / count.clamp(min=1)


def literal(features: Float[Tensor, "B P"], samples: int) -> Float[Tensor, ""]:
    """Pull plus push as the founding text prints them: `samples` rows of one identity, then those of the next.

    Its sums run over the diagonals too, which is harmless while rows have length 1, and only the first row of each
    identity is pushed. A term without pairs is 0, where the text divides by zero; rows of a part identity are left out.
    A sum of inner products over all pairs is that of the sum with itself.
    """
    with no_autocast(features):
        identities = len(features) // samples
        rows = unit(features[: identities * samples]).view(identities, samples, -1)
        near = identities * samples**2 - rows.sum(dim=1).square().sum()
        apart = rows[:, 0].sum(dim=0).square().sum() - identities
        return near / max(1, identities * samples * (samples - 1)) + apart / max(1, identities**2 - identities)
