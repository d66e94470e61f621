"""One vector from the patches of a picture, where the encoder's own mean is not what is wanted."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["mean_plus_max"]


def mean_plus_max(patches: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
    """The mean of each feature over the picture, and its largest value: global average plus global max pooling."""
    return patches.mean(dim=1) + patches.amax(dim=1)
