"""Lightness: the network sees a picture without its colours, which become facts to be predicted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from selfsight.errors import RecipeError
from selfsight.views import draw as drawing
from selfsight.views.lab import gamma, linear, to_lab, to_light
from selfsight.views.recipes import get
from selfsight.views.render import render

PER_UNIT = 100  # facts are whole numbers: hundredths of a unit of a and b
GREY = 5.0  # a picture without |a| or |b| above it is grey, released code of Zhang et al. 2016


@dataclass(frozen=True)
class Lightness:
    """One view of a picture: its lightness as pixels, its colours on a coarse grid as facts."""

    augmentation: str  # name of a view recipe that leaves colour alone
    size: int  # side, pixels
    grid: tuple[int, int]  # height and width of the grid of colours
    low: float = 0.0  # the pixel values that are black and white
    high: float = 255.0

    def __post_init__(self) -> None:
        recipe = get(self.augmentation, self.size)
        if recipe.jitter_chance or recipe.grey:
            raise RecipeError(f"the views {self.augmentation!r} change the colours to be predicted; use crop-flip")

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`split` of one drawn view of (H, W, 3), uint8 or uint16."""
        numbers = generator.random(drawing.length(image.shape[2])).tolist()
        recipe = get(self.augmentation, self.size)
        return self.split(render(image, recipe.draw(image.shape, numbers), self.size))

    def split(self, view: np.ndarray) -> dict[str, np.ndarray]:
        """What a view (h, w, 3) is and what is to be predicted of it.

        `lightness` (h, w, 3) has the view's type and range, L in every channel. `ab` (*grid, 2) holds hundredths of
        a and b, sampled bilinearly: their mean over a whole cell would be greyer than any colour in it. `grey` is 1
        where the view has no colour.
        """
        lab = to_lab(_light(self.low, self.high, view.dtype.str)[view])
        colours = np.ascontiguousarray(lab[..., 1:])
        sampled = cv2.resize(colours, self.grid[::-1], interpolation=cv2.INTER_LINEAR)
        lightness = np.rint(self.low + lab[..., :1] * ((self.high - self.low) / 100)).astype(view.dtype)
        return {
            "lightness": np.repeat(lightness, 3, axis=2),
            "ab": np.rint(sampled * PER_UNIT).astype(np.int64),
            "grey": np.array(np.abs(colours).max() <= GREY, np.int64),
        }

    def join(self, lightness: np.ndarray, ab: np.ndarray) -> np.ndarray:
        """The inverse of `split`: (h, w, 3) uint8 from `lightness` (h, w, 3) and `ab` (*grid, 2) in units."""
        spread = cv2.resize(ab, lightness.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        scaled = (lightness[..., :1] - np.float32(self.low)) * np.float32(100 / (self.high - self.low))
        stored = gamma(to_light(np.concatenate([scaled, spread], axis=2)))
        pixels: np.ndarray = np.rint(255 * stored).astype(np.uint8)
        return pixels


@lru_cache(maxsize=4)
def _light(low: float, high: float, dtype: str) -> np.ndarray:
    """The light of every pixel value of an integer type: a table is ten times as quick as the power."""
    values = np.arange(np.iinfo(dtype).max + 1)
    return linear(((values - low) / (high - low)).clip(0, 1)).astype(np.float32)
