"""A picture and crops of it that keep their boxes: what a method is asked of them is where they lie.

Both variants are VDVS's (methods/vdvs.py). "paper" is the article's text: half the side, anywhere inside. "repo" is the
released code: 128 of 224 pixels, the corner in the first quadrant; what reaches over the border is cut off, and the
rest, no square any more, is stretched to one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from selfsight.errors import RecipeError, unknown
from selfsight.views import draw, recipes, render
from selfsight.views.recipes import Recipe

VARIANTS = ("paper", "repo")
LOOKED_AT = 256  # pictures that `doubts` is worth asking of
TURNED = (15.0, 345.0)  # degrees, the released code's augmentation beside a mild random resized crop


@dataclass(frozen=True)
class BoxedCrops:
    """The whole picture, drawn once, and `count` crops of that drawing, each enlarged to its size."""

    recipe: Recipe
    size: int  # side of every view, pixels
    count: int
    variant: str = "paper"

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`whole` (size, size, C) and `crops` (K, size, size, C) of the picture's type, `boxes` (K, 4) int64.

        A box is top, left, height, width in pixels of `whole`. The picture is (H, W, C), uint8 or uint16.
        """
        boxes = self.boxes(generator, (self.count,))
        if self.variant == "repo":
            low, high = TURNED
            image = render.turn(render.whole(image, self.size), low + (high - low) * generator.random())
        numbers = generator.random(draw.length(image.shape[2])).tolist()
        whole = render.render(image, self.recipe.draw(image.shape, numbers), self.size)
        crops = np.empty((self.count, *whole.shape), whole.dtype)
        for crop, (top, left, height, width) in zip(crops, boxes.tolist(), strict=True):
            part = render.resize(whole[top : top + height, left : left + width], self.size)
            crop[:] = part.reshape(whole.shape)  # OpenCV drops the axis of a single channel
        return {"whole": whole, "crops": crops, "boxes": boxes}

    def boxes(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """(*shape, 4) int64: each on its own, its corner uniform on the whole pixels where it may lie."""
        side, corners = self.size // 2, self.size - self.size // 2 + 1
        if self.variant == "repo":
            side, corners = self.size * 128 // 224, self.size // 2
        places = generator.integers(0, corners, (*shape, 2))
        return np.concatenate([places, np.minimum(side, self.size - places)], axis=-1)


def boxed_crops(name: str, size: int, count: int, variant: str = "paper") -> BoxedCrops:
    """Crops of pictures drawn by the recipe of that name. RecipeError on an unknown recipe or variant."""
    if variant not in VARIANTS:
        raise RecipeError(unknown("variant", variant, VARIANTS))
    return BoxedCrops(recipes.get(name, size), size, count, variant)


def doubts(images: Iterable[np.ndarray], size: int) -> list[str]:
    """What there is to say of pictures (H, W, C), if their crops look alike wherever they lie."""
    looked = [(min(image.shape[:2]) < size // 2, (image == image[:1, :1]).all()) for image in images]
    small, plain = (sum(bool(fault) for fault in faults) for faults in zip(*looked, strict=True))
    faults = {
        "are smaller than a crop, which enlarges them; try a smaller --size": small,
        "are of one colour; nobody can tell where a crop of them lies": plain,
    }
    of = f"of {len(looked)} pictures that were looked at"
    return [f"{count} {of} {fault}" for fault, count in faults.items() if count]
