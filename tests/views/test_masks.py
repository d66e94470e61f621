"""Block-wise masks: the published statistics, a slow twin, and what every mask keeps to."""

from __future__ import annotations

import json
import pickle
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from selfsight.views.masks import Blocks, Masked, Regions
from selfsight.views.recipes import multi_view

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["beit_tokenizers"]["masking"]
LARGE, SMALL = Blocks((14, 14), 75, 16), Blocks((8, 8), 26, 4)


def masks(blocks: Blocks, count: int = 4000) -> np.ndarray:
    return np.stack([blocks.draw(np.random.default_rng(seed)) for seed in range(count)])


def test_statistics_of_the_released_code() -> None:
    hidden = masks(LARGE).sum(axis=(1, 2))
    assert hidden.mean() == pytest.approx(CHECK["14x14 target 75 min 16: mean masked"], abs=0.2)
    assert hidden.mean() / 196 == pytest.approx(CHECK["mean ratio"], abs=0.005)
    assert (hidden == 75).mean() == pytest.approx(CHECK["share of masks that reach the target exactly"], abs=0.05)
    assert masks(SMALL).sum(axis=(1, 2)).mean() == pytest.approx(CHECK["8x8 target 26 min 4: mean"], abs=0.2)


def slow(blocks: Blocks, generator: np.random.Generator) -> np.ndarray:
    """The procedure as it is written down, cell by cell."""
    height, width = blocks.grid
    mask = [[False] * width for _ in range(height)]
    count = 0
    while count < blocks.count:
        most, found = blocks.count - count, 0
        numbers = generator.random((10, 4))
        for attempt in range(10):
            area = blocks.least + numbers[attempt, 0] * (most - blocks.least)
            aspect = exp(log(0.3) + numbers[attempt, 1] * (log(1 / 0.3) - log(0.3)))
            h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
            if h < height and w < width:
                top, left = int(numbers[attempt, 2] * (height - h + 1)), int(numbers[attempt, 3] * (width - w + 1))
                cells = [(i, j) for i in range(top, top + h) for j in range(left, left + w)]
                new = [cell for cell in cells if not mask[cell[0]][cell[1]]]
                if 0 < len(new) <= most:
                    for i, j in new:
                        mask[i][j] = True
                    found = len(new)
                    break
        if not found:
            break
        count += found
    return np.array(mask)


@pytest.mark.parametrize("blocks", [LARGE, SMALL, Blocks((5, 9), 18, 4)])
def test_equals_the_slow_twin(blocks: Blocks) -> None:
    for seed in range(200):
        fast = blocks.draw(np.random.default_rng(seed))
        assert np.array_equal(fast, slow(blocks, np.random.default_rng(seed)))


@pytest.mark.parametrize("blocks", [LARGE, SMALL, Blocks((4, 4), 6, 4)])
def test_a_mask_hides_at_most_what_it_may_and_every_place_sometimes(blocks: Blocks) -> None:
    drawn = masks(blocks, 500)
    assert drawn.dtype == bool
    assert drawn.shape[1:] == blocks.grid
    assert 1 <= drawn.sum(axis=(1, 2)).min() <= drawn.sum(axis=(1, 2)).max() <= blocks.count
    assert drawn.any(axis=0).all()
    assert not drawn.all(axis=0).any()


@pytest.mark.parametrize("blocks", [LARGE, SMALL])
def test_exact_masks_hide_all_that_they_may(blocks: Blocks) -> None:
    exact = Blocks(blocks.grid, blocks.count, blocks.least, exact=True)
    assert (masks(exact, 300).sum(axis=(1, 2)) == blocks.count).all()
    for seed in range(50):
        loose, full = (b.draw(np.random.default_rng(seed)) for b in (blocks, exact))
        assert (full | ~loose).all(), "the rest is added, nothing is taken away"


def test_masked_views_are_the_views_and_a_fact() -> None:
    plain = multi_view("crop-flip", 32, views=1)
    views = pickle.loads(pickle.dumps(Masked(plain, SMALL)))
    image = np.random.default_rng(0).integers(0, 65536, (40, 50, 5), dtype=np.uint16)
    seen = views(image, np.random.default_rng(3))
    assert np.array_equal(seen["views"], plain(image, np.random.default_rng(3))["views"])
    assert seen["hidden"].shape == (64,)
    assert seen["hidden"].dtype == np.int64
    assert 0 < seen["hidden"].sum() <= 26


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_people_see_what_the_network_sees(dtype: type) -> None:
    """Pixel by pixel: what is hidden is of one grey, what is not is as it was."""
    plain = multi_view("crop-flip", 36, views=1)
    image = np.random.default_rng(0).integers(0, 200, (40, 50, 3)).astype(dtype)
    for views in (Masked(plain, SMALL), Regions.over(plain, (8, 8), 4)):
        seen = views(image, np.random.default_rng(3))
        own = seen["views"][0]
        grey = (int(own.min()) + int(own.max())) // 2
        known = {"views": set(np.flatnonzero(seen["hidden"] == 0))} if "hidden" in seen else {
            name: set(seen[name].ravel()) for name in ("known", "targets")
        }  # fmt: skip
        shown = views.visible(seen)
        for name, left in known.items():
            found = shown[name].reshape(own.shape)
            for row, column in np.ndindex(36, 36):
                patch = row * 8 // 36 * 8 + column * 8 // 36
                assert (found[row, column] == (own[row, column] if patch in left else grey)).all()
