"""Colour: the folded passes against a slow twin that does one operation after another and clips after each."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from selfsight.views import colour
from selfsight.views.draw import Step, permutations

LEVELS = {np.uint8: 255, np.uint16: 65535}


def twin(image: np.ndarray, steps: tuple[Step, ...], gains: tuple[float, ...] = ()) -> np.ndarray:
    """The definitions of `views.colour`, in float64, without hue."""
    full = LEVELS[image.dtype.type]
    channels = image.shape[2]
    weights = np.array([0.299, 0.587, 0.114]) if channels == 3 else np.full(channels, 1 / channels)
    pixels = image.astype(float)
    for name, amount in steps:
        light = pixels @ weights
        other = {"brightness": 0.0, "contrast": light.mean(), "saturation": light[..., None], "gain": 0.0}[name]
        factor = np.array(gains) if name == "gain" else amount
        pixels = np.clip(factor * pixels + (1 - factor) * other if name != "gain" else factor * pixels, 0, full)
    return pixels


def picture(channels: int, dtype: type) -> np.ndarray:
    photograph = load_sample_images().images[1][100:164, 200:260]
    stack = np.concatenate([photograph, photograph[::-1]] * 25, axis=2)[..., :channels]
    return np.ascontiguousarray(stack.astype(dtype) * (LEVELS[dtype] // 255))


@pytest.mark.parametrize("dtype", LEVELS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 150])
def test_folding_changes_nothing(channels: int, dtype: type) -> None:
    names = ("brightness", "contrast", "saturation") if channels == 3 else ("brightness", "contrast", "gain")
    gains = tuple(np.linspace(0.7, 1.3, channels))
    image = picture(channels, dtype)
    for order in permutations(names):
        for amounts in ((0.5, 0.7, 0.6), (1.7, 0.4, 1.5), (0.8, 1.6, 1.2), (1.3, 1.3, 0.0)):
            steps = tuple((name, amounts[names.index(name)]) for name in order)
            found = colour.apply(image, steps, gains).reshape(image.shape)
            assert found.dtype == dtype
            levels = np.abs(found - twin(image, steps, gains)) / (LEVELS[dtype] / 255)
            assert levels.max() <= 2.5, (order, amounts)  # rounding between passes, in grey levels of 255


def test_sixteen_bits_are_finer_than_eight() -> None:
    image, steps = picture(3, np.uint16), (("brightness", 0.9), ("contrast", 1.2), ("saturation", 0.7))
    assert np.abs(colour.apply(image, steps) - twin(image, steps)).max() <= 2.0  # of 65535


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_black_stays_black_wherever_it_lies(channels: int) -> None:
    """A picture whose black lies higher is changed as it would be otherwise, and lies as much higher."""
    names = ("brightness", "contrast", "saturation", "hue") if channels == 3 else ("brightness", "contrast", "gain")
    gains, image = tuple(np.linspace(0.7, 1.3, channels)), picture(channels, np.uint16) // 4
    for order in permutations(names):
        steps = tuple((name, {"hue": 0.1, "brightness": 1.3}.get(name, 0.6)) for name in order)
        higher = colour.apply(image + 10_000, steps, gains, 10_000).astype(int) - 10_000
        assert np.abs(higher - colour.apply(image, steps, gains)).max() <= 6, order  # of 65535, between passes


@pytest.mark.parametrize("circles", [-0.4, -0.1, 0.03, 0.2])
def test_hue_of_sixteen_bits_is_that_of_eight(circles: float) -> None:
    eight = colour.apply(picture(3, np.uint8), (("hue", circles),)).astype(float)
    sixteen = colour.apply(picture(3, np.uint16), (("hue", circles),)) / 257
    assert np.abs(eight - sixteen).mean() < 2.5


def test_a_turn_of_the_hue_permutes_pure_colours() -> None:
    red = np.zeros((2, 2, 3), np.uint16)
    red[..., 0] = 65535
    assert (colour.apply(red, (("hue", 1 / 3),))[0, 0] == [0, 65535, 0]).all()
    assert (colour.apply(red, (("hue", -1 / 3),))[0, 0] == [0, 0, 65535]).all()


def test_no_operation_no_change_and_the_input_stays() -> None:
    image = picture(3, np.uint8)
    image.setflags(write=False)
    assert colour.apply(image, ()) is image
    before = image.copy()
    colour.apply(image, (("brightness", 1.5), ("hue", 0.2), ("saturation", 0.0)))
    assert (image == before).all()
