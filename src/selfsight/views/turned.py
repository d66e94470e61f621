"""Turned: a square view and, where it is asked for, a quarter turn of it (Gidaris, Singh & Komodakis 2018).

Turns move whole pixels and come last: an interpolation before them is the same for all four, so that it betrays none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfsight.views import draw as drawing
from selfsight.views.draw import Draw, centre
from selfsight.views.recipes import SMALL, Recipe
from selfsight.views.render import render

__all__ = ["Turn", "Turned"]

LARGE = Recipe((0.08, 1.0))  # random resized crop and flip, the ImageNet recipe
PADDING = 8  # a small view is padded by an eighth of its side: 4 pixels at 32, ROT-32


class Turn(NamedTuple):
    """The random choices of one view."""

    view: Draw
    down: int  # of the small view in its padded self, pixels
    right: int
    quarters: int  # turns counter-clockwise


@dataclass(frozen=True)
class Turned:
    """One view of a picture, flipped or not, and turned if `turns`."""

    size: int  # side of the view, pixels
    turns: bool

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`view` (size, size, C), and its `turn` () in quarters, counter-clockwise, if it has one."""
        drawn = self.draw(image.shape, generator)
        view = {"view": self.render(image, drawn)}
        return view | {"turn": np.array(drawn.quarters)} if self.turns else view

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Turn:
        """One view's choices for a picture of `shape` (H, W, C): up to 96 px ROT-32, above it a random resized crop."""
        numbers = generator.random(drawing.length(shape[2]) + 3).tolist()
        down, right, quarters = numbers[-3:]
        turn = int(4 * quarters) if self.turns else 0
        view = LARGE.draw(shape, numbers)
        if self.size > SMALL:
            return Turn(view, 0, 0, turn)
        room = 2 * (self.size // PADDING) + 1
        return Turn(Draw(*centre(shape[0], shape[1]), flip=view.flip), int(down * room), int(right * room), turn)

    def render(self, image: np.ndarray, drawn: Turn) -> np.ndarray:
        """The view, of the picture's type."""
        view = render(image, drawn.view, self.size)
        if self.size <= SMALL:
            margin = self.size // PADDING  # published: black, which may lie far outside the range of 16 bits
            wide = np.pad(view, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
            view = wide[drawn.down : drawn.down + self.size, drawn.right : drawn.right + self.size]
        return np.ascontiguousarray(np.rot90(view, drawn.quarters))
