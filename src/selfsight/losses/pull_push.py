"""Pull and push: rows of one identity should have an inner product of 1, rows of two identities one of at most 0.

Every function brings its rows to unit length. Pairs are those off the diagonal, told apart by labels, so the order of
the rows does not matter; `literal` alone goes by their order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import relu

from selfsight.losses.precision import no_autocast, unit

__all__ = ["PAIRS", "PENALTIES", "PUSHES", "literal", "pull", "push"]

PAIRS = ("all", "first", "centroid")
PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {  # of an inner product s in [-1, 1]
    "hinge": relu,
    "squared_hinge": lambda s: relu(s).square(),
    "linear": lambda s: s,
    "minus_one": lambda s: 1 + s,  # the distance to -1; the gradient of linear
}
PUSHES = (*PENALTIES, "literal")


def pull(features: Float[Tensor, "B P"], labels: Int[Tensor, "B"], *, margin: float = 0.0) -> Float[Tensor, ""]:
    """Mean of 1 - s over the pairs of two rows with the same label; 0 when there is no such pair.

    A pair with s above 1 - `margin` is close enough and counts 0, so that a class may keep some spread.
    """
    with no_autocast(features):
        rows = unit(features)
        near = 1 - rows @ rows.T  # (B, B)
        near = torch.where(near < margin, 0, near) if margin else near
        return _mean(near, (labels[:, None] == labels) & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device))


def push(
    features: Float[Tensor, "B P"], labels: Int[Tensor, "B"], *, pairs: str = "all", penalty: str = "hinge"
) -> Float[Tensor, ""]:
    """Mean penalty of s over the pairs of two rows with different labels; 0 when there is no such pair.

    `pairs` are of all rows, of the first row of each label, or of the centroid (the unit mean) of each label.
    """
    with no_autocast(features):
        rows = unit(features)
        if pairs != "all":
            names = torch.unique(labels)
            member = names[:, None] == labels  # (identities, B)
            rows = rows[member.int().argmax(dim=1)] if pairs == "first" else unit(member.to(rows.dtype) @ rows)
            labels = names
        return _mean(PENALTIES[penalty](rows @ rows.T), labels[:, None] != labels)


def literal(features: Float[Tensor, "B P"], samples: int) -> Float[Tensor, ""]:
    """Pull plus push as the founding text prints them: `samples` rows of one identity, then those of the next.

    Its sums run over the diagonals too, which is harmless while rows have length 1, and only the first row of each
    identity is pushed. A term without pairs is 0, where the text divides by zero; rows of a part identity are left out.
    """
    with no_autocast(features):
        identities = len(features) // samples
        rows = unit(features[: identities * samples]).view(identities, samples, -1)
        first = rows[:, 0]
        near = (1 - rows @ rows.transpose(1, 2)).sum() / max(1, identities * samples * (samples - 1))
        apart = ((first @ first.T).sum() - identities) / max(1, identities**2 - identities)
        return near + apart


def _mean(values: Float[Tensor, "B B"], where: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
    return torch.where(where, values, 0).sum() / where.sum().clamp(min=1)
