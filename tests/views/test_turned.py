"""Turned: exact quarter turns, the published crop, and a rendering that knows no up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.views.draw import Draw
from selfsight.views.render import whole
from selfsight.views.turned import Turn, Turned

EXPECTED = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["rotation"]["expected"]


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, most, (height, width, channels), dtype=dtype, endpoint=True)


def upright(side: int) -> Turn:
    """A small view as it is: nothing cut, nothing flipped."""
    return Turn(Draw(0, 0, side, side), side // 8, side // 8, 0)


def test_turns_are_counter_clockwise_as_published() -> None:
    corners = np.array([[[1], [2]], [[3], [4]]], np.uint8)
    for quarters, expected in EXPECTED["k"].items():
        view = Turned(2, turns=True).render(corners, upright(2)._replace(quarters=int(quarters)))
        assert view[..., 0].tolist() == expected
        assert torch.rot90(torch.from_numpy(corners), int(quarters), dims=(0, 1))[..., 0].tolist() == expected


def test_turns_add_up() -> None:
    views = Turned(32, turns=True)
    image = picture(32, 32)
    once = [views.render(image, upright(32)._replace(quarters=k)) for k in range(4)]
    assert (once[0] == image).all()
    for first in range(4):
        for second in range(4):
            twice = views.render(once[first], upright(32)._replace(quarters=second))
            assert (twice == once[(first + second) % 4]).all()


def test_the_flip_comes_before_the_turn() -> None:
    image = picture(32, 32)
    drawn = upright(32)._replace(view=Draw(0, 0, 32, 32, flip=True), quarters=1)
    assert (Turned(32, turns=True).render(image, drawn) == np.rot90(image[:, ::-1])).all()


def test_small_views_are_cut_from_a_padded_picture() -> None:
    """Against a twin that looks each pixel up; the border is mirrored."""
    views, image = Turned(32, turns=False), picture(32, 32)
    for down, right in ((0, 0), (4, 4), (8, 3)):
        view = views.render(image, upright(32)._replace(down=down, right=right))
        for row, column in np.ndindex(32, 32):
            r, c = (31 - abs(31 - abs(place)) for place in (row + down - 4, column + right - 4))
            assert (view[row, column] == image[r, c]).all()


def test_crops_flips_and_turns_are_equally_likely() -> None:
    generator, views = np.random.default_rng(0), Turned(32, turns=True)
    every = [views.draw((40, 50, 3), generator) for _ in range(8000)]
    for counts in (
        Counter(one.down for one in every),
        Counter(one.right for one in every),
        Counter(one.quarters for one in every),
        Counter(one.view.flip for one in every),
    ):
        share = 8000 / len(counts)
        assert sum((count - share) ** 2 / share for count in counts.values()) < 30
    assert len({(one.down, one.right) for one in every}) == 81  # padding 4 at 32 pixels
    assert {one.view[:4] for one in every} == {(0, 5, 40, 40)}


def test_large_views_are_random_resized_crops() -> None:
    generator, views = np.random.default_rng(0), Turned(224, turns=False)
    every = [views.draw((300, 400, 3), generator) for _ in range(200)]
    shares = [one.view.height * one.view.width / 120_000 for one in every]
    assert 0.07 < min(shares) < 0.15
    assert max(shares) > 0.7
    assert views(picture(300, 400), generator)["view"].shape == (224, 224, 3)


@pytest.mark.parametrize("side", [32, 40, 41, 75, 97, 128])
def test_rendering_knows_no_up(side: int) -> None:
    """A picture that is its own quarter turn stays one: an interpolation that leant to a side would betray the turn."""
    image = picture(side, side).astype(int)
    image = sum(np.rot90(image, k) for k in range(4)) // 4
    view = whole(image.astype(np.uint8), 32).astype(int)
    assert np.abs(view - np.rot90(view)).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [8, 32, 128])
def test_any_picture_has_a_view(size: int, channels: int, dtype: type) -> None:
    for shape in ((1, 1), (9, 70), (300, 40)):
        image = np.full((*shape, channels), 77, dtype)
        for turns in (False, True):
            seen = Turned(size, turns)(image, np.random.default_rng(0))
            assert seen["view"].shape == (size, size, channels)
            assert seen["view"].dtype == dtype
            assert (seen["view"] == 77).all()
            assert ("turn" in seen) == turns
            assert all(fact.dtype == np.int64 for name, fact in seen.items() if name != "view")
