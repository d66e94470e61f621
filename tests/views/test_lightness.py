"""Lightness: what the network sees has no colour left, and the colours are those of the picture."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from selfsight.errors import RecipeError
from selfsight.views.lab import linear, to_lab
from selfsight.views.lightness import Lightness

SEEN = Lightness("crop-flip", 32, (8, 8))


def picture(side: int = 32, seed: int = 0) -> np.ndarray:
    """A smooth colour picture (side, side, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3))
    return np.kron(coarse, np.ones((side // 4, side // 4, 1))).astype(np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow_ab(view: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Hundredths of a and b at the centre of every cell, between the four pixels around it."""
    lab = to_lab(linear(view / 255.0))
    found = np.zeros((*grid, 2))
    for row in range(grid[0]):
        for column in range(grid[1]):
            y, x = (row + 0.5) * view.shape[0] / grid[0] - 0.5, (column + 0.5) * view.shape[1] / grid[1] - 0.5
            top, left = int(y), int(x)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = (1 - abs(y - top - i)) * (1 - abs(x - left - j))
                if share > 0:
                    found[row, column] += share * lab[top + i, left + j, 1:]
    return found * 100


@pytest.mark.parametrize("grid", [(8, 8), (4, 4), (16, 16), (12, 12), (32, 32)])
def test_colours_are_sampled_where_the_slow_twin_samples_them(grid: tuple[int, int]) -> None:
    view = noise(32, 32)
    found = Lightness("crop-flip", 32, grid).split(view)["ab"]
    assert found.dtype == np.int64
    np.testing.assert_allclose(found, slow_ab(view, grid), atol=1.0)  # hundredths: rounding, and float32


def test_lightness_is_that_of_lab_in_every_channel() -> None:
    view = noise(32, 32)
    seen = SEEN.split(view)["lightness"]
    assert seen.dtype == np.uint8
    assert (seen == seen[..., :1]).all()
    np.testing.assert_allclose(seen[..., 0], to_lab(linear(view / 255.0))[..., 0] * 2.55, atol=0.51)
    ends = SEEN.split(np.repeat(np.array([0, 255], np.uint8), 512).reshape(32, 32, 1).repeat(3, axis=2))["lightness"]
    assert (ends.min(), ends.max()) == (0, 255)


def test_sixteen_bits_in_any_range_are_the_same_colours() -> None:
    view = noise(32, 32)
    deep = Lightness("crop-flip", 32, (8, 8), low=0, high=65535).split(view.astype(np.uint16) * 257)
    part = Lightness("crop-flip", 32, (8, 8), low=1000, high=1000 + 255 * 16).split(view.astype(np.uint16) * 16 + 1000)
    plain = SEEN.split(view)
    for found, low, each in ((deep, 0, 257), (part, 1000, 16)):
        assert found["lightness"].dtype == np.uint16
        np.testing.assert_array_equal(found["ab"], plain["ab"])
        np.testing.assert_allclose((found["lightness"] - low) / each, plain["lightness"], atol=0.55)
    assert (
        Lightness("crop-flip", 32, (8, 8), low=1000, high=5080).split(np.full((32, 32, 3), 9, np.uint16))["grey"] == 1
    )


@pytest.mark.parametrize(("colour", "grey"), [((90, 90, 90), 1), ((94, 90, 86), 1), ((120, 90, 60), 0)])
def test_a_view_is_grey_when_no_pixel_has_colour(colour: tuple[int, int, int], grey: int) -> None:
    view = np.full((32, 32, 3), 90, np.uint8)
    view[31, 31] = colour
    assert SEEN.split(view)["grey"] == grey


def test_a_view_is_the_drawn_crop_and_nothing_of_its_colour_is_seen() -> None:
    image = picture(64)
    found, again = (seen(image, np.random.default_rng(3)) for seen in (SEEN, pickle.loads(pickle.dumps(SEEN))))
    assert len(pickle.dumps(SEEN)) < 1000
    assert {name: array.shape for name, array in found.items()} == {
        "lightness": (32, 32, 3),
        "ab": (8, 8, 2),
        "grey": (),
    }
    assert all((found[name] == again[name]).all() for name in found)
    other = SEEN(image, np.random.default_rng(4))
    assert (found["ab"] != other["ab"]).any()


def test_split_and_join() -> None:
    """Where colours are smooth the picture comes back, but for the rounding of its lightness."""
    rows = np.linspace(60, 180, 32)
    view = np.stack(np.broadcast_arrays(rows[:, None], rows[None, :], np.full((32, 32), 120.0)), axis=-1)
    view = view.round().astype(np.uint8)
    full = Lightness("crop-flip", 32, (32, 32))
    facts = full.split(view)
    np.testing.assert_allclose(full.join(facts["lightness"], facts["ab"] / 100), view, atol=1)
    facts = SEEN.split(view)
    inside = (slice(2, -2), slice(2, -2))  # beyond the outer centres a colour stays as it is
    coarse = SEEN.join(facts["lightness"], facts["ab"] / 100)
    np.testing.assert_allclose(coarse[inside], view[inside].astype(float), atol=3)


@pytest.mark.parametrize("name", ["simclr", "moco1", "weak"])
def test_views_that_change_colours_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="use crop-flip"):
        Lightness(name, 32, (8, 8))
