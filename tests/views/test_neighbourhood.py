"""Neighbourhood: the released labels and lengths, labels that are true, and what is done to colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfsight.views.neighbourhood import OFFSETS, PAIRS, Neighbourhood, Placed, neighbourhood, one_channel

ENTRY = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["relative_patch"]
SMALL, LARGE = (neighbourhood(size, every=False, drop=False) for size in (32, 224))
SHAPES = [(32, 32), (28, 28), (24, 24), (20, 20), (16, 16), (17, 90), (100, 37), (300, 300), (375, 500), (64, 2000)]


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, most, (height, width, channels), dtype=dtype, endpoint=True)


def drawn(views: Neighbourhood, shape: tuple[int, ...], count: int = 200) -> list[Placed]:
    generator = np.random.default_rng(1)
    return [views.draw((*shape, 3)[:3], generator) for _ in range(count)]


def test_labels_are_the_released_ones() -> None:
    for label, offset in enumerate(OFFSETS):
        assert list(offset) == ENTRY["expected"]["label_to_offset_row_col"][str(label)]


def test_swapped_patches_and_mirrored_pictures_have_their_labels() -> None:
    mirrored = {0: 2, 1: 1, 2: 0, 3: 4, 4: 3, 5: 7, 6: 6, 7: 5}
    for label, (down, right) in enumerate(OFFSETS):
        assert OFFSETS[7 - label] == (-down, -right)
        assert OFFSETS[mirrored[label]] == (down, -right)
    assert {(b, a, 7 - label) for a, b, label in PAIRS} == set(PAIRS)


def test_all_ordered_pairs_of_neighbours() -> None:
    twin = []
    for first in range(9):
        for second in range(9):
            offset = second // 3 - first // 3, second % 3 - first % 3
            if offset in OFFSETS:
                twin.append((first, second, OFFSETS.index(offset)))
    assert sorted(PAIRS) == sorted(twin)
    assert len(PAIRS) == 40
    assert [label for first, _, label in sorted(PAIRS) if first == 4] == list(range(8))


def test_lengths_at_224_pixels_are_the_released_ones() -> None:
    published = ENTRY["geometry"]["p96_gap48"]
    assert (LARGE.patch, LARGE.gap, LARGE.jitter) == (96, 48, 7)
    assert (LARGE.pitch, LARGE.extent) == (published["pitch"], published["grid3x3_extent"])
    assert LARGE.pixels == (150_000, 450_000)
    every = drawn(LARGE, (671, 671), 2000)
    places, sides = np.array([one.corners for one in every]), {one.side for one in every}
    assert (min(sides), max(sides)) == (96, 161)  # of 671 pixels, resized to between 398 (what the grid needs) and 671
    assert places.min() >= 0


def test_lengths_at_32_pixels_are_the_specs() -> None:
    published = ENTRY["geometry"]["cifar_p8_gap2_jitter1"]
    every = drawn(SMALL, (32, 32), 2000)
    assert {one.side for one in every} == {8}
    assert 2 * published["pitch"] + 8 == published["grid3x3_extent"]
    corners = np.array([one.corners for one in every]).reshape(-1, 3, 3, 2)
    assert corners.min() == 0
    assert corners.max() + 8 == 32  # origins 1 to 3 and a jitter of 1
    steps = np.diff(corners[..., 0], axis=1)
    assert (steps.min(), steps.max()) == (published["pitch"] - 2, published["pitch"] + 2)
    assert SMALL.extent == 88  # of the 96 that the picture is thought to be enlarged to


@pytest.mark.parametrize("views", [SMALL, LARGE, neighbourhood(128, every=True, drop=False)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_patch_lies_in_the_picture_and_no_two_overlap(views: Neighbourhood, shape: tuple[int, int]) -> None:
    """Nothing is clamped at the border, so that no label is wrong."""
    for one in drawn(views, shape):
        corners = np.array(one.corners)
        assert corners.min() >= 0
        assert (corners + one.side <= shape).all()
        for first, second, label in PAIRS:
            apart = corners[second] - corners[first]
            for axis, towards in enumerate(OFFSETS[label]):
                if towards:
                    assert towards * apart[axis] >= one.side, "the second patch is where the label says"


def test_gaps_stay_open_whatever_the_jitter() -> None:
    """34 of 48 pixels are left at the published size."""
    exact = Neighbourhood(96, 48, 7, (600**2, 600**2))
    corners = np.array([one.corners for one in drawn(exact, (600, 600), 1000)]).reshape(-1, 3, 3, 2)
    gaps = np.diff(corners[..., 0], axis=1) - 96
    assert (gaps.min(), gaps.max()) == (34, 62)


def test_the_second_patch_is_where_the_fact_says() -> None:
    """At 96 pixels nothing is resized, so that the twin only has to copy."""
    image, seen = picture(96, 96), set()
    for seed in range(60):
        views = SMALL(image, np.random.default_rng(seed))
        record = SMALL.draw(image.shape, np.random.default_rng(seed))
        label = int(views["neighbour"])
        down, right = OFFSETS[label]
        for patch, cell in zip(views["patches"], (4, 4 + 3 * down + right), strict=True):
            top, left = record.corners[cell]
            for row, column in np.ndindex(24, 24):
                assert (patch[row, column] == image[top + row, left + column]).all()
        seen.add(label)
    assert seen == set(range(8))


def test_a_mirrored_draw_of_a_mirrored_picture_shows_mirrored_patches() -> None:
    image = picture(50, 70)
    record = SMALL.draw(image.shape, np.random.default_rng(3))
    corners = tuple((top, 70 - record.side - left) for top, left in record.corners)
    swapped = tuple(corners[3 * row + 2 - column] for row in range(3) for column in range(3))
    mirrored = record._replace(corners=swapped)
    for row, column in np.ndindex(3, 3):
        there = SMALL.render(np.ascontiguousarray(image[:, ::-1]), mirrored, 3 * row + 2 - column)
        assert np.abs(SMALL.render(image, record, 3 * row + column)[:, ::-1].astype(int) - there).max() <= 1


def test_labels_are_equally_likely_and_each_patch_keeps_any_channel() -> None:
    every = drawn(SMALL, (40, 40), 4000)
    counts = np.bincount([one.neighbour for one in every])
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi square of 7 degrees, one in a thousand
    kept = np.array([one.kept for one in every])
    assert (abs((kept[..., None] == range(3)).mean(axis=0) - 1 / 3) < 0.04).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_colour_drop_leaves_one_channel_and_a_trace_of_noise(channels: int, dtype: type) -> None:
    patch = picture(40, 40, channels, dtype)
    found = one_channel(patch, 1, np.random.default_rng(0))
    assert found.dtype == dtype
    assert (found[..., 1] == patch[..., 1]).all()
    others = np.delete(found, 1, axis=2).astype(float)
    own = patch[..., 1].astype(float)
    assert np.abs(others.mean() - own.mean()) < max(0.5, 0.001 * own.std())
    rounded = (0.01 * own.std()) ** 2 + 1 / 12  # the paper's deviation, and that of whole numbers
    assert others.var() == pytest.approx(rounded, rel=0.1)


def test_colour_drop_is_part_of_the_views_and_one_channel_has_nothing_to_drop() -> None:
    views = neighbourhood(32, every=True, drop=True)
    patches = views(picture(96, 96), np.random.default_rng(0))["patches"].astype(float)
    assert ((patches.std(axis=(1, 2)) > 30).sum(axis=1) == 1).all()
    grey = picture(96, 96, 1)
    dropped, plain = (neighbourhood(32, every=True, drop=d)(grey, np.random.default_rng(0)) for d in (True, False))
    assert (dropped["patches"] == plain["patches"]).all()


def test_a_third_of_the_large_patches_is_coarse() -> None:
    coarse = np.array([one.coarse for one in drawn(LARGE, (500, 500), 500)]).ravel()
    assert abs((coarse > 0).mean() - 0.33) < 0.03
    assert 10 <= coarse[coarse > 0].min() < 20
    assert 90 < coarse.max() <= 95
    assert np.mean(coarse[coarse > 0].astype(float) ** 2) == pytest.approx((100 + 9025) / 2, rel=0.1)
    assert not any(any(one.coarse) for one in drawn(SMALL, (500, 500)))
    image = picture(500, 500)
    record = LARGE.draw(image.shape, np.random.default_rng(0))
    fine, blurred = (LARGE.render(image, record._replace(coarse=(side,) * 9), 4) for side in (0, 12))
    assert blurred.shape == fine.shape
    assert blurred.std() < 0.5 * fine.std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [32, 96, 224])
@pytest.mark.parametrize("every", [False, True])
def test_any_picture_makes_patches(size: int, channels: int, dtype: type, every: bool) -> None:
    views = neighbourhood(size, every=every, drop=True)
    for shape in ((5, 5), (1, 40), (60, 90)):
        image = np.full((*shape, channels), 77, dtype)
        image.setflags(write=False)
        seen = views(image, np.random.default_rng(0))
        assert seen["patches"].shape == (9 if every else 2, views.patch, views.patch, channels)
        assert seen["patches"].dtype == dtype
        assert (seen["patches"] == 77).all()
        assert every == ("neighbour" not in seen)
