"""Puzzle: the tiles of a picture in a permuted order (Noroozi & Favaro 2016, and the geometry of a later port).

The picture's largest square is cut into cells, and a tile is cut somewhere inside each cell, so that no edge runs on
from one tile to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfsight.views import colour
from selfsight.views.draw import TO_GREY
from selfsight.views.permutations import permutation_set
from selfsight.views.tiles import SMALL, TILE, Corner, cut, grid, roomy

__all__ = ["Puzzle", "Shuffled", "tile_size"]

CELL = 32  # pixels: the least side of a cell as it is rendered, the 96 px geometry


def tile_size(rows: int, size: int, share: float = 0.75) -> int:
    """Side of a rendered tile for views of `size` pixels: 64 at 224 px (255 / 3 = 85), 24 from 32 to 96 px."""
    side = size if size <= SMALL else round(size * 255 / 224)
    return max(TILE, round(share * max(CELL, side // rows)))


class Shuffled(NamedTuple):
    """The random choices of one puzzle."""

    corners: tuple[Corner, ...]  # of the tiles, in their true order, pixels of the picture
    side: int  # of a tile, pixels of the picture
    permutation: int  # row of the permutation set
    grey: bool
    moves: tuple[int, ...]  # down and right, for each channel of each tile, pixels of the tile; () when there are none


@dataclass(frozen=True)
class Puzzle:
    """rows x rows tiles of a picture: slot t shows the tile that belongs in slot permutation[t]."""

    rows: int
    size: int  # side of a rendered tile, pixels
    permutations: int
    criterion: str
    share: float = 0.75  # of a cell's side that a tile has
    grey: float = 0.0  # chance
    shift: int = 0  # most pixels of the tile that a channel is moved by

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`tiles` (rows * rows, size, size, C) as shown, and `permutation` (), a row of the permutation set."""
        image = roomy(image)
        drawn = self.draw(image.shape, generator)
        return {"tiles": self.render(image, drawn), "permutation": np.array(drawn.permutation)}

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Shuffled:
        """One puzzle's choices for a picture of `shape` (H, W, C); every permutation is equally likely."""
        height, width, channels = shape
        cells = self.rows**2
        numbers = generator.random(4 + 2 * cells).tolist()
        pitch = min(height, width) // self.rows
        side = max(1, round(self.share * pitch))
        top, left = (int(n * (room - self.rows * pitch + 1)) for n, room in zip(numbers, (height, width), strict=False))
        inside = [int(n * (pitch - side + 1)) for n in numbers[4:]]
        corners = tuple(
            (top + down + inside[2 * k], left + right + inside[2 * k + 1])
            for k, (down, right) in enumerate(grid(self.rows, pitch))
        )
        count = 2 * channels * cells if self.shift else 0
        moves = tuple(generator.integers(-self.shift, self.shift, count, endpoint=True).tolist())
        return Shuffled(corners, side, int(numbers[2] * self.permutations), numbers[3] < self.grey, moves)

    def render(self, image: np.ndarray, drawn: Shuffled) -> np.ndarray:
        """The tiles as they are shown, of the picture's type."""
        tiles = cut(image, drawn.corners, drawn.side, self.size)
        if drawn.grey and image.shape[2] > 1:
            column = tiles.reshape(-1, *tiles.shape[2:])
            tiles = colour.apply(column, (TO_GREY,)).reshape(tiles.shape)
        if drawn.moves:
            tiles = moved(tiles, np.reshape(drawn.moves, (len(tiles), -1, 2)), self.shift)
        order = permutation_set(len(tiles), self.permutations, self.criterion)[drawn.permutation]
        return np.asarray(tiles[order])


def moved(tiles: np.ndarray, moves: np.ndarray, most: int) -> np.ndarray:
    """Each channel of tiles (K, h, w, C) moved by its own (K, C, 2) pixels down and right; the border repeats."""
    size = tiles.shape[1]
    wide = np.pad(tiles, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    out = np.empty_like(tiles)
    for tile, channel in np.ndindex(tiles.shape[0], tiles.shape[3]):
        top, left = most - moves[tile, channel]
        out[tile, ..., channel] = wide[tile, top : top + size, left : left + size, channel]
    return out
