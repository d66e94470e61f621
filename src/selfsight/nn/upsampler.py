"""A head that spreads what an encoder says of each position over a finer grid."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, log2

from jaxtyping import Float
from torch import Tensor, nn

from selfsight.errors import RecipeError
from selfsight.nn.encoder import Encoder

__all__ = ["Upsampler"]


class Upsampler(nn.Module):
    """Doubles the encoder's grid until its side is `resolution` at least; `grid` is what comes of it, height and width.

    A doubling is: upsample, convolve 3x3, batch norm, ReLU; a linear layer at every location follows. Upsampled to the
    nearest neighbour, whose gradient is deterministic on every device.
    """

    def __init__(self, encoder: Encoder, *, hidden: int, out: int, resolution: int) -> None:
        super().__init__()
        if resolution > encoder.size:
            raise RecipeError(f"a grid of {resolution} is finer than a view of {encoder.size} px; lower the resolution")
        if encoder.maps != encoder.width:
            raise RecipeError(f"{encoder.name!r} has layers behind its map that stay untrained; use another --encoder")
        self.coarse = encoder.grid(encoder.size)
        doublings = max(0, ceil(log2(resolution / min(self.coarse))))
        self.grid = (self.coarse[0] << doublings, self.coarse[1] << doublings)
        widths = [encoder.maps, *[hidden] * doublings]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], out, 1))

    def forward(self, patches: Float[Tensor, "B L D"]) -> Float[Tensor, "B Q h w"]:
        """A map of the fine grid from the encoder's patches, row-major."""
        maps = patches.transpose(1, 2).reshape(len(patches), -1, *self.coarse)  # (B, D, h, w)
        made: Tensor = self.layers(maps)
        return made
