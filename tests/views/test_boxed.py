"""A picture and crops with boxes: geometry against a slow twin, both variants, any channels, and honest targets."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import oracle_views as oracle
import pytest
import torch

from selfsight.data.order import Purpose, keyed
from selfsight.errors import RecipeError
from selfsight.losses.boxes import answers, pair_iou
from selfsight.views.boxed import VARIANTS, boxed_crops, doubts

KNOWN = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["vdvs"]
COVERED = KNOWN["target_distribution_half_size_crops"]["E_coverage_by_number_of_crops"]
RECIPE = {"paper": "whole", "repo": "vdvs-repo"}


def picture(channels: int = 3, dtype: type = np.uint8, shape: tuple[int, int] = (50, 70)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*shape, channels), dtype=dtype)


def enlarged(part: np.ndarray, size: int) -> np.ndarray:
    """Slow twin: bilinear with half-pixel centres, edges repeated, no antialiasing."""
    out = np.zeros((size, size, part.shape[2]))
    for row in range(size):
        for column in range(size):
            y = min(max((row + 0.5) * part.shape[0] / size - 0.5, 0), part.shape[0] - 1)
            x = min(max((column + 0.5) * part.shape[1] / size - 0.5, 0), part.shape[1] - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, part.shape[0] - 1), min(left + 1, part.shape[1] - 1)
            upper = part[top, left] * (1 - x + left) + part[top, right] * (x - left)
            lower = part[below, left] * (1 - x + left) + part[below, right] * (x - left)
            out[row, column] = upper * (1 - y + top) + lower * (y - top)
    return out


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [32, 33])
def test_crops_are_the_boxes_of_the_whole_enlarged(variant: str, size: int) -> None:
    photograph = oracle.photographs((64,))[0]
    seen = boxed_crops(RECIPE[variant], size, 5, variant)(photograph, np.random.default_rng(3))
    assert seen["boxes"].dtype == np.int64
    for crop, (top, left, height, width) in zip(seen["crops"], seen["boxes"], strict=True):
        expected = enlarged(seen["whole"][top : top + height, left : left + width].astype(float), size)
        assert np.abs(crop - expected).max() <= 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_channels_and_both_types(variant: str, channels: int, dtype: type) -> None:
    seen = boxed_crops(RECIPE[variant], 40, 3, variant)(picture(channels, dtype), np.random.default_rng(0))
    assert seen["whole"].shape == (40, 40, channels)
    assert seen["crops"].shape == (3, 40, 40, channels)
    assert seen["whole"].dtype == seen["crops"].dtype == dtype


@pytest.mark.parametrize("size", [8, 31, 32, 224])
def test_the_papers_boxes_are_half_the_side_and_reach_every_place(size: int) -> None:
    boxes = boxed_crops("whole", size, 4).boxes(np.random.default_rng(0), (20_000,))
    assert (boxes[:, 2:] == size // 2).all()
    for axis in (0, 1):
        assert sorted(set(boxes[:, axis].tolist())) == list(range(size - size // 2 + 1))
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 0.03


def test_the_released_boxes_are_128_of_224_and_cut_at_the_border() -> None:
    boxes = boxed_crops("vdvs-repo", 224, 7, "repo").boxes(np.random.default_rng(0), (20_000,))
    corner, side = boxes[:, :2], boxes[:, 2:]
    assert (corner.min(), corner.max()) == (0, 111)
    assert (side == np.minimum(128, 224 - corner)).all()
    assert side.min() == 113


def expected_covered(size: int, count: int) -> float:
    """Of half-size boxes: a pixel lies in one with chance p(row) p(column), and in any of K with 1 - (1 - ...)^K."""
    side = size // 2
    corners = range(size - side + 1)
    inside = np.array([sum(corner <= place < corner + side for corner in corners) for place in range(size)])
    chance = np.outer(inside, inside) / len(corners) ** 2
    return float((1 - (1 - chance) ** count).mean())


def test_the_covered_share_of_many_pixels_has_its_check_values() -> None:
    for count, share in COVERED.items():
        assert expected_covered(512, int(count)) == pytest.approx(share, abs=2e-3)


@pytest.mark.parametrize("count", [3, 4, 7])
def test_targets_have_the_expected_means(count: int) -> None:
    """IoU 0.31585 of many pixels; of few, where the ends count for more, others."""
    generator = np.random.default_rng(0)
    many = torch.from_numpy(boxed_crops("whole", 4096, count).boxes(generator, (20_000, count)))
    assert pair_iou(many).mean().item() == pytest.approx(0.31585, abs=0.003)
    few = torch.from_numpy(boxed_crops("whole", 32, count).boxes(generator, (5000, count)))
    overlap, covered = answers(few, 32)
    assert overlap.mean().item() == pytest.approx(0.296, abs=0.005)
    assert covered.mean().item() == pytest.approx(expected_covered(32, count), abs=0.005)


def test_colour_and_mirror_are_drawn_once_for_the_picture() -> None:
    """A grey ramp from left to right: every crop has the whole's direction and its range."""
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    views = boxed_crops("whole", 64, 4)
    rising = set()
    for number in range(20):
        seen = views(ramp, np.random.default_rng(number))
        slopes = [np.sign(float(one[0, -1].sum()) - float(one[0, 0].sum())) for one in (seen["whole"], *seen["crops"])]
        rising.add(slopes[0])
        assert len(set(slopes)) == 1
    assert rising == {-1.0, 1.0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_light_keyed_and_the_same_after_a_journey(variant: str) -> None:
    views = boxed_crops(RECIPE[variant], 32, 4, variant)
    packed = pickle.dumps(views)
    assert len(packed) < 1000
    image = picture()
    image.setflags(write=False)
    first, second = (v(image, keyed(0, 7, Purpose.VIEWS)) for v in (views, pickle.loads(packed)))
    other = views(image, keyed(0, 8, Purpose.VIEWS))
    for name, array in first.items():
        assert (array == second[name]).all()
        assert (array != other[name]).any()


def test_impossible_ones_are_refused() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'paper'"):
        boxed_crops("whole", 32, 4, "papers")
    with pytest.raises(RecipeError, match="Did you mean 'whole'"):
        boxed_crops("hole", 32, 4)


def test_doubts() -> None:
    large, small, plain = picture(), picture(shape=(15, 90)), np.full((40, 40, 3), (200, 7, 0), np.uint16)
    assert doubts([large], 32) == []
    said = doubts([large, small, plain, small], 32)
    assert said[0].startswith("2 of 4 pictures that were looked at are smaller than a crop")
    assert said[1].startswith("1 of 4 pictures that were looked at are of one colour")
