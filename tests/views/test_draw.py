"""Draws: what is chosen, how often, and that one choice never shifts another."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from selfsight.views import draw, recipes

ASPECT = (3 / 4, 4 / 3)


def crops(height: int, width: int, area: tuple[float, float], count: int = 4000) -> np.ndarray:
    blocks = np.random.default_rng(1).random((count, 4 * draw.TRIES))
    return np.array([draw.crop(block.tolist(), height, width, area, ASPECT) for block in blocks])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 200), (1, 1), (3, 500), (400, 2), (7, 9)])
def test_a_crop_lies_in_the_picture(height: int, width: int) -> None:
    top, left, h, w = crops(height, width, (0.08, 1.0), 500).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (h >= 1).all()
    assert (w >= 1).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()


def test_crops_are_distributed_as_torchvisions() -> None:
    ours = crops(120, 160, (0.08, 1.0))
    torch.manual_seed(0)
    picture = torch.zeros(1, 120, 160)
    theirs = np.array([RandomResizedCrop.get_params(picture, [0.08, 1.0], list(ASPECT)) for _ in range(4000)])
    for column in range(4):
        quantiles = [np.quantile(boxes[:, column], np.linspace(0.05, 0.95, 10)) for boxes in (ours, theirs)]
        assert np.abs(quantiles[0] - quantiles[1]).max() < 6  # pixels; two samples of torchvision differ by as much


def test_where_no_crop_fits_the_largest_centred_one_is_taken() -> None:
    assert draw.crop([0.99] * 4 * draw.TRIES, 10, 1000, (0.9, 1.0), ASPECT) == (0, 493, 10, 13)
    assert draw.centre(10, 1000) == (0, 495, 10, 10)


def test_jitter_is_in_every_order_with_amounts_in_range() -> None:
    generator = np.random.default_rng(0)
    seen = [draw.jitter(generator.random(), generator.random(4), (0.8, 0.4, 0.0, 0.1), 3) for _ in range(300)]
    assert {tuple(name for name, _ in steps) for steps in seen} == set(
        draw.permutations(("brightness", "contrast", "hue"))
    )
    amounts = {name: [dict(steps)[name] for steps in seen] for name in ("brightness", "contrast", "hue")}
    for name, (low, high) in {"brightness": (0.2, 1.8), "contrast": (0.6, 1.4), "hue": (-0.1, 0.1)}.items():
        assert low <= min(amounts[name]) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(amounts[name]) <= high


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        (1, {"brightness", "contrast"}),
        (2, {"brightness", "contrast", "gain", "saturation"}),
        (5, {"brightness", "contrast", "gain", "saturation"}),
    ],
)
def test_colour_adapts_to_the_channels(channels: int, names: set[str]) -> None:
    recipe = recipes.get("simclr", 224)
    generator = np.random.default_rng(0)
    drawn = [recipe.draw((50, 60, channels), generator.random(draw.length(channels)).tolist()) for _ in range(100)]
    assert {name for one in drawn for name, _ in one.colour} == names
    for one in drawn:
        assert dict(one.colour).get("saturation", 0.0) == 0.0  # where there is no colour, grey alone
        assert len(one.gains) == (channels if "gain" in dict(one.colour) else 0)
        assert all(0.6 <= gain <= 1.4 for gain in one.gains)


def test_chances_and_strengths_are_the_recipes() -> None:
    recipe, generator, count = recipes.get("simclr", 224), np.random.default_rng(0), 4000
    drawn = [recipe.draw((90, 80, 3), generator.random(draw.length(3)).tolist()) for _ in range(count)]
    shares = {
        "flip": (np.mean([one.flip for one in drawn]), 0.5),
        "jitter": (np.mean(["hue" in dict(one.colour) for one in drawn]), 0.8),
        "grey": (np.mean([bool(one.colour) and one.colour[-1] == draw.TO_GREY for one in drawn]), 0.2),
        "blur": (np.mean([one.sigma > 0 for one in drawn]), 0.5),
    }
    for name, (share, chance) in shares.items():
        assert abs(share - chance) < 4 * (chance * (1 - chance) / count) ** 0.5, name
    sigmas = [one.sigma for one in drawn if one.sigma]
    assert 0.1 <= min(sigmas) < 0.15
    assert 1.95 < max(sigmas) <= 2.0


def test_moco1_greys_before_the_jitter() -> None:
    recipe, generator = recipes.get("moco1", 224), np.random.default_rng(0)
    drawn = [recipe.draw((90, 80, 3), generator.random(draw.length(3)).tolist()) for _ in range(100)]
    grey = [one.colour for one in drawn if draw.TO_GREY in one.colour]
    assert 5 < len(grey) < 40
    assert all(steps[0] == draw.TO_GREY and len(steps) == 5 for steps in grey)
