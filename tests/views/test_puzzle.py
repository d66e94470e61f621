"""Puzzle: the published geometry, every choice drawn as often as it should be, and tiles that find back."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from selfsight.views import permutations
from selfsight.views.puzzle import Puzzle, Shuffled, moved, tile_size

PLAIN = Puzzle(3, 24, 100, "min")


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, most, (height, width, channels), dtype=dtype, endpoint=True)


def drawn(puzzle: Puzzle, shape: tuple[int, ...], count: int) -> list[Shuffled]:
    generator = np.random.default_rng(1)
    return [puzzle.draw(shape, generator) for _ in range(count)]


@pytest.mark.parametrize(
    ("rows", "size", "tile"),
    [(3, 32, 24), (3, 64, 24), (3, 96, 24), (3, 224, 64), (2, 32, 24), (2, 96, 36), (2, 224, 95), (3, 128, 36)],
)
def test_how_large_a_tile_is_shown(rows: int, size: int, tile: int) -> None:
    assert tile_size(rows, size) == tile


@pytest.mark.parametrize(
    ("rows", "short", "cell", "tile"), [(3, 32, 10, 8), (2, 32, 16, 12), (3, 96, 32, 24), (3, 256, 85, 64)]
)
def test_published_cells_and_tiles(rows: int, short: int, cell: int, tile: int) -> None:
    """Each tile lies in its own cell, each cell grid in the picture, and all places are reached."""
    every = drawn(Puzzle(rows, 24, 24, "min"), (short, short + 5, 3), 2000)
    assert {one.side for one in every} == {tile}
    corners = np.array([one.corners for one in every])  # (draws, cells, 2)
    free = (short - rows * cell, short + 5 - rows * cell)
    for place, (row, column) in enumerate(np.ndindex(rows, rows)):
        for axis, (number, room) in enumerate(zip((row, column), free, strict=True)):
            found = corners[:, place, axis] - number * cell
            assert found.min() >= 0
            assert found.max() <= room + cell - tile
            assert len(set(found)) == room + cell - tile + 1
    gaps = np.diff(corners[:, :rows, 1], axis=1) - tile
    assert gaps.min() == 0
    assert gaps.max() == 2 * (cell - tile)
    assert gaps.mean() == pytest.approx(cell - tile, rel=0.05)  # 21 of 0 to 42 at 256 pixels


def test_the_papers_text_leaves_less_room() -> None:
    every = drawn(Puzzle(3, 64, 64, "min", share=64 / 75), (225, 225, 3), 300)
    assert {one.side for one in every} == {64}
    gaps = np.diff(np.array([one.corners for one in every])[:, :3, 1], axis=1) - 64
    assert (gaps.min(), gaps.max()) == (0, 22)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_slot_t_shows_tile_s_of_t_and_the_inverse_restores(channels: int, dtype: type) -> None:
    """At 96 pixels nothing is resized, so that the twin only has to copy."""
    image = picture(96, 96, channels, dtype)
    generator = np.random.default_rng(5)
    for _ in range(10):
        state = generator.bit_generator.state
        seen = PLAIN(image, generator)
        again = np.random.default_rng(5)
        again.bit_generator.state = state
        record = PLAIN.draw(image.shape, again)
        order = permutations.permutation_set(9, 100)[int(seen["permutation"])]
        assert seen["tiles"].dtype == dtype
        for slot, tile in enumerate(order):
            top, left = record.corners[tile]
            for row, column in np.ndindex(24, 24):
                assert (seen["tiles"][slot, row, column] == image[top + row, left + column]).all()
        restored = seen["tiles"][np.argsort(order)]
        assert (restored == PLAIN.render(image, record._replace(permutation=0))).all()


def test_every_permutation_is_shown_equally_often() -> None:
    counts = Counter(one.permutation for one in drawn(Puzzle(2, 24, 24, "min"), (32, 32, 3), 24_000))
    assert set(counts) == set(range(24))
    squares = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert squares < 49.7  # chi square of 23 degrees, one in a thousand


def test_three_in_ten_are_grey_all_tiles_alike() -> None:
    puzzle = Puzzle(3, 24, 24, "min", grey=0.3)
    generator = np.random.default_rng(0)
    tiles = [puzzle(picture(40, 40), generator)["tiles"] for _ in range(400)]
    grey = np.array([[(tile == tile[..., :1]).all() for tile in one] for one in tiles])
    assert (grey == grey[:, :1]).all()
    assert abs(grey[:, 0].mean() - 0.3) < 4 * (0.3 * 0.7 / 400) ** 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_move_each_by_its_own(channels: int) -> None:
    tiles = np.stack([picture(9, 9, channels)] * 4)
    moves = np.random.default_rng(2).integers(-2, 3, (4, channels, 2))
    found = moved(tiles, moves, 2)
    for k, row, column, channel in np.ndindex(found.shape):
        down, right = moves[k, channel]
        source = np.clip(row - down, 0, 8), np.clip(column - right, 0, 8)
        assert found[k, row, column, channel] == tiles[(k, *source, channel)]


def test_moves_are_drawn_for_each_channel_of_each_tile() -> None:
    puzzle = Puzzle(2, 24, 24, "min", shift=2)
    every = drawn(puzzle, (32, 32, 3), 100)
    assert {move for one in every for move in one.moves} == {-2, -1, 0, 1, 2}
    assert {len(one.moves) for one in every} == {4 * 3 * 2}
    assert drawn(PLAIN, (32, 32, 3), 1)[0].moves == ()
    assert puzzle(picture(32, 32), np.random.default_rng(0))["tiles"].shape == (4, 24, 24, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 90), (15, 16), (31, 500), (700, 80)])
@pytest.mark.parametrize("rows", [2, 3])
def test_pictures_of_any_shape_have_tiles(height: int, width: int, rows: int) -> None:
    puzzle = Puzzle(rows, 24, 24, "min", grey=0.5, shift=1)
    generator = np.random.default_rng(0)
    for _ in range(20):
        image = np.full((height, width, 3), 77, np.uint8)
        image.setflags(write=False)
        seen = puzzle(image, generator)
        assert seen["tiles"].shape == (rows**2, 24, 24, 3)
        assert (seen["tiles"] == 77).all()
        assert seen["permutation"].dtype == np.int64


def test_is_light_although_the_set_is_large() -> None:
    assert len(pickle.dumps(Puzzle(3, 24, 1000, "min"))) < 1000
