"""Draw: the random choices that make one view, as a record that can be kept, compared and rendered again.

Randomness enters here and nowhere else in the views. A view is drawn from one block of uniform numbers in [0, 1) whose
layout is fixed, so what one choice uses never shifts another, and view v's choices do not depend on the other views.

`Views` is what a method hands to the loader. Any picklable callable of that shape will do: crops that keep their boxes,
jigsaw tiles or masks are further callables beside `recipes.MultiView`, with records of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import exp, log, sqrt
from typing import NamedTuple, Protocol

import numpy as np

Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels of the picture."""
Step = tuple[str, float]
"""One colour operation and its amount; see `views.colour` for what each does."""

TRIES = 10  # proposals for a crop that fits before the centre is taken, torchvision RandomResizedCrop
FLIP, JITTER, ORDER, AMOUNTS, GREY, BLUR, SIGMA, CROP = 0, 1, 2, 3, 7, 8, 9, 10  # places in the block
GAINS = CROP + 4 * TRIES  # one number per channel follows, used where there are neither 1 nor 3 channels
SOLARISE, TURN = GAINS - 1, GAINS - 2  # also the last numbers of the last proposal, which is hardly ever made
ORDERS = tuple(permutations(range(4)))
TO_GREY: Step = ("saturation", 0.0)
"""Every channel becomes the lightness: for red, green and blue the weighted mean, for N others the plain one."""


class Views(Protocol):
    """Turns one picture into what the network sees. Picklable; called from several threads at once."""

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Named arrays from a picture (H, W, C): uint8 or uint16 `(h, w, C)` or `(V, h, w, C)` are pictures, wider
        integers are facts. Every random choice comes from `generator`."""
        ...


class Draw(NamedTuple):
    """The random choices of one view."""

    top: int  # crop box, pixels of the picture
    left: int
    height: int
    width: int
    flip: bool = False  # left to right
    colour: tuple[Step, ...] = ()  # in the order they act
    gains: tuple[float, ...] = ()  # one factor per channel, for the colour step "gain"
    sigma: float = 0.0  # of the Gaussian blur, pixels of the view; 0 = none
    solarise: bool = False  # what is brighter than half of full scale is inverted
    turns: int = 0  # quarter turns counter-clockwise
    low: float = 0.0  # of more than 8 bits, the pixel values that are black and white
    high: float = 65535.0


def length(channels: int) -> int:
    """How many numbers one view's block has."""
    return GAINS + channels


def crop(
    numbers: Sequence[float], height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """Random resized crop: area share uniform in `area`, aspect (width / height) log-uniform in `aspect`.

    `numbers` are 4 * TRIES uniform numbers. When no proposal fits, the largest centred box within `aspect` is taken
    (torchvision.transforms.RandomResizedCrop, whose rule this is).
    """
    low, high = log(aspect[0]), log(aspect[1])
    for n in range(0, 4 * TRIES, 4):
        pixels = height * width * (area[0] + numbers[n] * (area[1] - area[0]))
        ratio = exp(low + numbers[n + 1] * (high - low))
        w, h = round(sqrt(pixels * ratio)), round(sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(numbers[n + 2] * (height - h + 1)), int(numbers[n + 3] * (width - w + 1)), h, w
    return centre(height, width, aspect)


def centre(height: int, width: int, aspect: tuple[float, float] = (1.0, 1.0)) -> Box:
    """The largest centred box whose aspect (width / height) lies in `aspect`."""
    w = max(1, min(width, round(height * aspect[1])))
    h = max(1, min(height, round(width / aspect[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def jitter(
    order: float, amounts: Sequence[float], strengths: tuple[float, float, float, float], channels: int
) -> tuple[Step, ...]:
    """Colour jitter: the operations in random order, each with a random amount (torchvision ColorJitter).

    `order` and the four `amounts` are uniform numbers. A strength s makes a factor uniform in [max(0, 1 - s), 1 + s];
    hue turns by a share of the circle uniform in [-s, s]. Grey pictures have brightness and contrast; where the
    channels are not red, green and blue, saturation and hue give way to one gain per channel (see `gains`).
    """
    steps: list[Step] = []
    for k in ORDERS[int(order * len(ORDERS))]:
        strength = strengths[k]
        if not strength or (k > 1 and channels == 1):
            continue
        if k < 2 or (k == 2 and channels == 3):
            low = max(0.0, 1.0 - strength)
            steps.append((("brightness", "contrast", "saturation")[k], low + amounts[k] * (1.0 + strength - low)))
        elif k == 2:
            steps.append(("gain", 1.0))
        elif channels == 3:
            steps.append(("hue", (2.0 * amounts[3] - 1.0) * strength))
    return tuple(steps)


def gains(numbers: Sequence[float], strength: float) -> tuple[float, ...]:
    """One factor per channel, uniform in [1 - s / 2, 1 + s / 2]: half of saturation's range, as each acts alone."""
    return tuple([1.0 + (number - 0.5) * strength for number in numbers])
