"""Tiles: each cut as it would be alone, whatever its place; pictures of any shape, type and number of channels."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.errors import RecipeError
from selfsight.views.render import resize
from selfsight.views.tiles import LEAST, check_size, cut, doubts, enough, grid, roomy


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, most, (height, width, channels), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize(("side", "size"), [(8, 24), (24, 24), (50, 24)])
def test_a_tile_is_its_own_pixels_resized(side: int, size: int, channels: int, dtype: type) -> None:
    image = picture(90, 80, channels, dtype)
    corners = [(0, 0), (40, 30), (7, 11)]
    tiles = cut(image, corners, side, size)
    assert tiles.shape == (3, size, size, channels)
    assert tiles.dtype == dtype
    for tile, (top, left) in zip(tiles, corners, strict=True):
        alone = image[top : top + side, left : left + side]
        assert (tile == (alone if side == size else resize(alone, size).reshape(tile.shape))).all()


@pytest.mark.parametrize("side", [7, 8, 11, 31])
def test_equal_pixels_make_equal_tiles_wherever_they_are(side: int) -> None:
    """A tile holds no trace of its place: not of the resize's phase, not of what lies beside it."""
    own = picture(side, side)
    image = picture(100, 100)
    corners = [(row, column) for row in (0, 33, 66) for column in (1, 34, 68)]
    for top, left in corners:
        image[top : top + side, left : left + side] = own
    tiles = cut(image, corners, side, 24)
    assert (tiles == tiles[0]).all()


def test_the_grid_goes_row_by_row() -> None:
    assert grid(2, 10) == [(0, 0), (0, 10), (10, 0), (10, 10)]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (15, 15), (16, 16), (90, 17)])
def test_small_pictures_get_room_and_others_are_left_alone(height: int, width: int) -> None:
    image = picture(height, width)
    large = roomy(image)
    assert min(large.shape[:2]) >= LEAST
    if min(height, width) >= LEAST:
        assert large is image
    times = large.shape[0] // height
    assert (large[::times, ::times] == image).all()


@pytest.mark.parametrize(
    ("side", "stride", "up", "size", "found"),
    [
        (24, 32, True, 64, 33),  # a ResNet
        (24, 32, False, 64, 64),  # a DenseNet
        (24, 32, False, 48, 24),  # whose views of 48 px have one position too
        (24, 32, True, 32, 24),
        (24, 8, True, 64, 24),
        (27, 32, True, 97, 33),
        (36, 32, True, 96, 36),
    ],
)
def test_a_network_gets_two_positions_where_its_views_have_them(
    side: int, stride: int, up: bool, size: int, found: int
) -> None:
    def positions(pixels: int) -> tuple[int, int]:
        return ((pixels + (stride - 1) * up) // stride,) * 2

    assert enough(side, positions, size) == found


def test_a_tile_larger_than_the_view_is_refused() -> None:
    check_size("a method", 24, 24)
    with pytest.raises(RecipeError, match="a method cuts tiles of 24 px, larger than views of 16 px; give --size 24"):
        check_size("a method", 24, 16)


def test_pictures_that_hold_no_tiles_are_told() -> None:
    assert list(doubts("a method", [picture(16, 90)])) == []
    (said,) = doubts("a method", [picture(16, 90), picture(15, 90), picture(40, 3)])
    assert said.startswith("a method: 2 of 3 pictures that were looked at are less than 16 px high or wide")
    assert "--method" in said
