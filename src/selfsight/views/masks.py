"""Masks: which patches of a view are hidden, drawn with the views. Row-major, like the patches themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from jaxtyping import Bool

from selfsight.errors import RecipeError
from selfsight.views.draw import Views

__all__ = ["Blocks", "Masked"]

ASPECT = 0.3  # the flattest block is 0.3 times as high as wide, the steepest the reverse; BEiT's code
TRIES = 10  # blocks that are proposed before the mask stays as it is; BEiT's code


@dataclass(frozen=True)
class Blocks:
    """Rectangles of patches, one after another, until `count` patches are hidden (Bao et al. 2022, algorithm 1).

    As in the released code a block never covers a whole row or column, and the last ones that would fit are often not
    found: `count` is the most that is hidden. With `exact`, patches that are drawn one by one fill the rest.
    """

    grid: tuple[int, int]  # height and width, patches
    count: int  # hidden patches, at most
    least: int  # area of the smallest block that is proposed, patches
    exact: bool = False

    @classmethod
    def over(cls, grid: tuple[int, int], share: float, least: int, exact: bool = False) -> Blocks:
        """Masks that hide at most a share of the patches."""
        return cls(grid, round(share * grid[0] * grid[1]), least, exact)

    def __post_init__(self) -> None:
        """RecipeError where there is no room for a block and something around it."""
        if min(self.grid) < 3 or self.count < 1:
            height, width = self.grid
            raise RecipeError(f"{height} x {width} patches are too few to hide some; use a larger --size")

    def draw(self, generator: np.random.Generator) -> Bool[np.ndarray, "h w"]:
        """A mask: True is hidden."""
        hidden = np.zeros(self.grid, bool)
        while (left := self.count - int(hidden.sum())) > 0 and self._add(hidden, left, generator):
            pass
        if self.exact and left > 0:
            hidden.flat[generator.permutation(np.flatnonzero(~hidden))[:left]] = True
        return hidden

    def _add(self, hidden: Bool[np.ndarray, "h w"], left: int, generator: np.random.Generator) -> bool:
        """Hide one more block that adds at least one and at most `left` patches; False when none was found."""
        for size, shape, down, along in generator.random((TRIES, 4)).tolist():
            area = self.least + size * (left - self.least)  # near the end this counts down from `least`
            aspect = exp(log(ASPECT) * (1 - 2 * shape))
            height, width = round(sqrt(area * aspect)), round(sqrt(area / aspect))
            if height >= hidden.shape[0] or width >= hidden.shape[1]:
                continue
            top, start = int(down * (hidden.shape[0] - height + 1)), int(along * (hidden.shape[1] - width + 1))
            block = hidden[top : top + height, start : start + width]
            if 0 < block.size - int(block.sum()) <= left:
                block[:] = True
                return True
        return False


@dataclass(frozen=True)
class Masked:
    """Views, and with each picture the fact `hidden` (L,) int64: 1 where a patch is hidden."""

    views: Views
    mask: Blocks

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of `views` from a picture (H, W, C), and `hidden`."""
        return {**self.views(image, generator), "hidden": self.mask.draw(generator).flatten().astype(np.int64)}
