"""Boxes against their check values, a painter's twin, and what chance makes of half-size crops."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.losses.boxes import answers, covered_share, pair_iou, pairs

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["vdvs"]


def painted(boxes: np.ndarray, height: int, width: int) -> tuple[list[float], float]:
    """Slow twin: paint every box on a canvas of its own, and count pixels."""
    masks = []
    for top, left, tall, wide in boxes:
        mask = np.zeros((height, width), bool)
        for row in range(top, top + tall):
            for column in range(left, left + wide):
                mask[row, column] = True
        masks.append(mask)
    ious = [(a & b).sum() / (a | b).sum() for a, b in combinations(masks, 2)]
    return ious, np.any(masks, axis=0).mean()


def random_boxes(pictures: int, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, (height, width), (pictures, count, 2))
    return np.concatenate([corner, generator.integers(1, (height, width) - corner + 1)], axis=-1)


def test_check_values() -> None:
    crop, size = CHECK["inputs"]["crop_size"], CHECK["inputs"]["image_size"]
    boxes = torch.tensor([[[*corner, crop, crop] for corner in CHECK["inputs"]["top_left"]]], dtype=torch.float64)
    assert pairs(4).T.tolist() == CHECK["inputs"]["pairs"]
    overlap, covered = answers(boxes, size)
    assert overlap[0].tolist() == pytest.approx(CHECK["expected"]["pair_iou"], rel=1e-12)
    assert covered.tolist() == [CHECK["expected"]["union_coverage"]]


@pytest.mark.parametrize(("count", "height", "width"), [(2, 5, 9), (5, 12, 12), (7, 8, 3)])
def test_slow_twin(count: int, height: int, width: int) -> None:
    boxes = random_boxes(20, count, height, width)
    ious, shares = zip(*(painted(one, height, width) for one in boxes), strict=True)
    there = torch.from_numpy(boxes).double()
    np.testing.assert_allclose(pair_iou(there), ious, rtol=1e-12)
    np.testing.assert_allclose(covered_share(there, height, width), shares, rtol=1e-12)
    np.testing.assert_allclose(pair_iou(torch.from_numpy(boxes)), ious, rtol=1e-6)  # integers: in float32


def test_equal_boxes_and_a_covered_picture_are_one_and_zero_as_released() -> None:
    boxes = torch.tensor([[[0, 0, 6, 6], [0, 0, 6, 6], [0, 0, 3, 6]]])
    overlap, covered = answers(boxes, 6)
    assert overlap.tolist() == [[1, 0.5, 0.5]]
    assert covered.tolist() == [1]
    overlap, covered = answers(boxes, 6, released=True)
    assert overlap.tolist() == [[0, 0.5, 0.5]]
    assert covered.tolist() == [0]


def test_order_of_the_boxes_permutes_pairs_only() -> None:
    boxes = torch.from_numpy(random_boxes(6, 3, 9, 9))
    turned = boxes.flip(1)
    assert torch.equal(covered_share(boxes, 9, 9), covered_share(turned, 9, 9))
    assert torch.equal(pair_iou(boxes), pair_iou(turned).flip(1))  # (0, 1), (0, 2), (1, 2)
