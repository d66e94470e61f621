"""Neighbourhood: patches of a 3x3 grid with gaps between them (Doersch, Gupta & Efros 2015).

Gaps and jitter keep lines from running on from one patch to the next. Colour drop keeps a lens from telling where in
the picture a patch was: it shifts the channels against each other, the more the farther from the centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import sqrt
from typing import NamedTuple

import numpy as np

from selfsight.views.render import resize
from selfsight.views.tiles import SMALL, TILE, Corner, Positions, cut, enough, grid, roomy

__all__ = ["OFFSETS", "PAIRS", "Neighbourhood", "Placed", "neighbourhood"]

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Row and column of the second patch relative to the first, by label (released code)."""
CENTRE = 4  # of the nine cells, row by row
PAIRS = tuple(
    (3 * row + column, 3 * (row + down) + column + right, label)
    for (row, column), (label, (down, right)) in product(product(range(3), range(3)), enumerate(OFFSETS))
    if 0 <= row + down < 3 and 0 <= column + right < 3
)
"""All 40 ordered pairs of neighbours in the grid: first cell, second cell, label."""
COARSE, LEAST_COARSE = 0.33, 100  # chance, and pixels of the smallest picture a 96 px patch is brought down to


class Placed(NamedTuple):
    """The random choices of one neighbourhood."""

    corners: tuple[Corner, ...]  # of the nine patches, row by row, pixels of the picture
    side: int  # of a patch, pixels of the picture
    neighbour: int  # label of the second patch of the pair
    kept: tuple[int, ...]  # of each patch, the channel that colour drop keeps
    coarse: tuple[int, ...]  # of each patch, the side that it is brought down to on the way; 0 is none
    noise: int  # seed of what colour drop puts in place of channels


@dataclass(frozen=True)
class Neighbourhood:
    """Two neighbouring patches of a picture, or all nine. Lengths are in pixels of a patch of side `patch`."""

    patch: int
    gap: int
    jitter: int  # most pixels that a patch is moved by, down and right
    pixels: tuple[int, int]  # least and most that the picture is thought to be resized to
    every: bool = False  # all nine patches
    drop: bool = False  # all channels but one
    coarse: bool = False
    rendered: int = 0  # side that a patch is shown at, where that is not `patch`

    @property
    def pitch(self) -> int:
        """From one patch's corner to the next."""
        return self.patch + self.gap

    @property
    def extent(self) -> int:
        """Side of the grid."""
        return 3 * self.patch + 2 * self.gap

    def seen_by(self, positions: Positions, size: int) -> Neighbourhood:
        """The same patches, rendered large enough for a network whose views have `size` pixels, see `tiles.enough`."""
        return replace(self, rendered=enough(self.patch, positions, size))

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`patches` (2 or 9, h, w, C), and of two the `neighbour` (): where the second lies, see `OFFSETS`."""
        image = roomy(image)
        drawn = self.draw(image.shape, generator)
        down, right = OFFSETS[drawn.neighbour]
        cells = range(9) if self.every else (CENTRE, CENTRE + 3 * down + right)
        patches = np.stack([self.render(image, drawn, cell) for cell in cells])
        return {"patches": patches} | ({} if self.every else {"neighbour": np.array(drawn.neighbour)})

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Placed:
        """One neighbourhood's choices for a picture of `shape` (H, W, C)."""
        height, width, channels = shape
        short, long = sorted((height, width))
        numbers = generator.random(4 + 9 * 5)
        places = numbers[4:].reshape(9, 5).tolist()
        low, high = self.pixels
        resized = sqrt((low + numbers[0] * (high - low)) * short / long)  # the short side that the picture would have
        scale = short / max(resized, self.extent + 2 * self.jitter)  # pixels of the picture per pixel of a patch
        side, gap = (max(least, int(scale * length + 1e-9)) for least, length in ((1, self.patch), (0, self.gap)))
        extent = 3 * side + 2 * gap
        jitter = min(max(1, int(scale * self.jitter + 1e-9)), (short - extent) // 2, gap // 2)  # so that none overlap
        top, left = (
            jitter + int(number * (room - extent - 2 * jitter + 1))
            for number, room in zip(numbers[1:3], (height, width), strict=True)
        )
        corners = tuple(
            (top + down + int(a * (2 * jitter + 1)) - jitter, left + right + int(b * (2 * jitter + 1)) - jitter)
            for (down, right), (a, b, *_) in zip(grid(3, side + gap), places, strict=True)
        )
        kept = tuple(int(number * channels) for _, _, number, _, _ in places)
        coarse = tuple(self._coarse(chance, number) for *_, chance, number in places)
        noise = int(generator.integers(2**63))
        return Placed(corners, side, int(numbers[3] * len(OFFSETS)), kept, coarse, noise)

    def _coarse(self, chance: float, number: float) -> int:
        if not self.coarse or chance >= COARSE:
            return 0
        least, most = LEAST_COARSE * (self.patch / 96) ** 2, (self.patch - 1) ** 2  # 100 to 9025 at 96 pixels
        return max(1, round(sqrt(least + number * (most - least))))

    def render(self, image: np.ndarray, drawn: Placed, cell: int) -> np.ndarray:
        """One patch, of the picture's type."""
        patch: np.ndarray = cut(image, [drawn.corners[cell]], drawn.side, self.rendered or self.patch)[0]
        if self.drop:
            patch = one_channel(patch, drawn.kept[cell], np.random.default_rng([drawn.noise, cell]))
        if drawn.coarse[cell]:
            small = resize(patch, drawn.coarse[cell]).reshape(drawn.coarse[cell], drawn.coarse[cell], -1)
            patch = resize(small, len(patch)).reshape(patch.shape)
        return patch


def one_channel(patch: np.ndarray, kept: int, generator: np.random.Generator) -> np.ndarray:
    """All channels but one become Gaussian noise around its mean, with a hundredth of its deviation (the paper's)."""
    own = patch[..., kept].astype(np.float32)
    noise = own.mean() + 0.01 * own.std() * generator.standard_normal(patch.shape, np.float32)
    dropped: np.ndarray = np.rint(noise).clip(0, np.iinfo(patch.dtype).max).astype(patch.dtype)
    dropped[..., kept] = patch[..., kept]
    return dropped


def neighbourhood(size: int, *, every: bool, drop: bool) -> Neighbourhood:
    """The neighbourhood for views of `size` pixels: the released code's at 224, for small ones a grid 88 of 96 wide."""
    if size <= SMALL:
        return Neighbourhood(TILE, 8, 2, (96**2, 96**2), every, drop)
    scale = size / 224
    pixels = (round(150_000 * scale**2), round(450_000 * scale**2))
    return Neighbourhood(round(96 * scale), round(48 * scale), round(7 * scale), pixels, every, drop, coarse=True)
