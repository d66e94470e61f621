"""Orientation: pictures with an upright are told from pictures without one, always the same way."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.views.orientation import FEWEST, upright


def noise(count: int, side: int = 40, channels: int = 3, dtype: type = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, np.iinfo(dtype).max, (side, side, channels), dtype=dtype) for _ in range(count)]


def lit_from_above(image: np.ndarray) -> np.ndarray:
    """Somewhat brighter at the top."""
    slope = np.linspace(1.0, 0.7, len(image))[:, None, None]
    return (image * slope).astype(image.dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_light_from_above_is_an_upright_and_noise_is_none(channels: int, dtype: type) -> None:
    pictures = noise(120, 40, channels, dtype)
    assert not upright(pictures).clear
    found = upright(map(lit_from_above, pictures))
    assert found.clear
    assert found.accuracy > 0.8
    assert found.pictures == 120


@pytest.mark.parametrize("side", [24, 33, 50])
def test_noise_stays_at_chance(side: int) -> None:
    found = upright(noise(300, side))
    assert abs(found.accuracy - 0.25) < 3 * found.error


def test_pictures_that_are_their_own_turn_are_right_once_in_four() -> None:
    pictures = [sum(np.rot90(image.astype(int), k) for k in range(4)) // 4 for image in noise(120, 32)]
    found = upright(image.astype(np.uint8) for image in pictures)
    assert found.accuracy == 0.25
    assert not found.clear


def test_constant_pictures_have_no_upright() -> None:
    assert not upright([np.full((20, 30, 3), number, np.uint8) for number in range(120)]).clear


@pytest.mark.parametrize("copies", [2, 3, 5])
def test_copies_do_not_answer_for_each_other(copies: int) -> None:
    """Burst frames and crops of one picture stand side by side, as names have it."""
    assert not upright([one for one in noise(300 // copies) for _ in range(copies)]).clear


def test_few_pictures_are_not_judged() -> None:
    assert upright(noise(FEWEST - 1)).clear
    assert upright([]).clear


def test_the_answer_is_always_the_same() -> None:
    assert upright(noise(120)) == upright(noise(120))
