"""Tiles: squares cut from one picture, each rendered on its own, and how large they are.

A square is cut first and resized afterwards, all of one picture from equally many whole pixels. A resize of the picture
as a whole would sample every square at another phase, and a network could read the square's place from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from selfsight.errors import RecipeError
from selfsight.views.render import resize

__all__ = ["LOOKED_AT", "SMALL", "Corner", "Positions", "check_size", "cut", "doubts", "enough", "grid", "roomy"]

Corner = tuple[int, int]
"""Top and left of a square, pixels of the picture."""
Positions = Callable[[int], tuple[int, int]]
"""Height and width of the map that a network makes of a square of so many pixels."""

SMALL = 96  # pixels: up to here the geometry for 32 and 96 px pictures, above the published one for 224
TILE = 24  # pixels: the least side that a tile is rendered at; an 8 px tile of a 32 px picture is enlarged threefold
LARGER = (33, 64)  # pixels: where a map of stride 32 gets a second position, one that rounds up, one that rounds down
LEAST = 16  # pixels: a picture with a shorter side has its pixels repeated, so that it can be cut at all
LOOKED_AT = 256  # pictures that `doubts` is worth asking of


def grid(rows: int, pitch: int) -> list[Corner]:
    """Corners of rows x rows cells, row by row, the first at (0, 0)."""
    return [(row * pitch, column * pitch) for row in range(rows) for column in range(rows)]


def roomy(image: np.ndarray) -> np.ndarray:
    """The picture (H, W, C), its pixels repeated until its short side has `LEAST`."""
    times = -(-LEAST // min(image.shape[:2]))
    return image if times <= 1 else image.repeat(times, axis=0).repeat(times, axis=1)


def enough(side: int, positions: Positions, size: int) -> int:
    """`side` of a rendered tile, or more where a network would be left with one position and views of `size` are not.

    On one position a 3 x 3 convolution learns the middle of its nine taps. The others stay as random as they were, and
    whole views, which are what is embedded, would go through them.
    """
    sides = [side, *(larger for larger in LARGER if side < larger <= size)]
    return next((one for one in sides if min(positions(one)) > 1), side)


def cut(image: np.ndarray, corners: Sequence[Corner], side: int, size: int) -> np.ndarray:
    """Squares of `side` pixels of the picture (H, W, C) at `corners`, rendered at `size`: (K, size, size, C)."""
    tiles = np.empty((len(corners), size, size, image.shape[2]), image.dtype)
    for tile, (top, left) in zip(tiles, corners, strict=True):
        tile[:] = resize(image[top : top + side, left : left + side], size).reshape(tile.shape)
    return tiles


def check_size(method: str, tile: int, size: int) -> None:
    """RecipeError when a tile would be larger than the view that the encoder is made for."""
    if tile > size:
        raise RecipeError(
            f"{method} cuts tiles of {tile} px, larger than views of {size} px; give --size {tile} or more"
        )


def doubts(method: str, images: Iterable[np.ndarray]) -> Iterator[str]:
    """What there is to say of pictures (H, W, C) that are too small for tiles; nothing where there are none."""
    sides = [min(image.shape[:2]) for image in images]
    if few := sum(side < LEAST for side in sides):
        yield (
            f"{method}: {few} of {len(sides)} pictures that were looked at are less than {LEAST} px high or wide, too "
            "small to be cut up; leave them out, or take another --method, one that sees pictures whole"
        )
