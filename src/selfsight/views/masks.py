"""Masks: which patches of a view are hidden, drawn with the views. Row-major, like the patches themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Protocol

import numpy as np
from jaxtyping import Bool

from selfsight.errors import RecipeError
from selfsight.views.draw import Views

__all__ = ["Blocks", "Masked", "Regions", "Scattered", "blocks"]

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
        if self.least > self.count:
            told = f"the smallest block has {self.least} patches, and at most {self.count} may be hidden"
            raise RecipeError(f"{told}; use --set block={self.count} or less, or a larger share")

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


def blocks(size: int) -> dict[str, tuple[float, str]]:
    """BEiT's `share` of hidden patches and smallest `block` for views of `size` pixels, each with its source."""
    share = (0.383, "released code: 75 of 196 patches") if size > 96 else (0.4, "paper")
    block = (16, "released code") if size >= 224 else (4, "few patches; released code: 16 of 196")
    return {"share": share, "block": block}


@dataclass(frozen=True)
class Scattered:
    """Patches here and there, always as many (He et al. 2022, MAE)."""

    grid: tuple[int, int]  # height and width, patches
    count: int  # hidden patches

    @classmethod
    def over(cls, grid: tuple[int, int], share: float) -> Scattered:
        """Masks that leave floor((1 - share) L) of L patches. RecipeError where none or all would be left."""
        places = grid[0] * grid[1]
        left = int(places * (1 - share))
        if not 0 < left < places:
            raise RecipeError(f"a share of {share} hides {places - left} of {places} patches; hide some and leave some")
        return cls(grid, places - left)

    def draw(self, generator: np.random.Generator) -> Bool[np.ndarray, "h w"]:
        """A mask: True is hidden."""
        hidden = np.zeros(self.grid, bool)
        hidden.flat[generator.permutation(hidden.size)[: self.count]] = True
        return hidden


class Mask(Protocol):
    """What draws which patches are hidden."""

    @property
    def grid(self) -> tuple[int, int]: ...

    def draw(self, generator: np.random.Generator) -> Bool[np.ndarray, "h w"]: ...


@dataclass(frozen=True)
class Masked:
    """Views, and with each picture the fact `hidden` (L,) int64: 1 where a patch is hidden."""

    views: Views
    mask: Mask

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of `views` from a picture (H, W, C), and `hidden`."""
        return {**self.views(image, generator), "hidden": self.mask.draw(generator).flatten().astype(np.int64)}

    def visible(self, seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is left of the views, for people."""
        return {**seen, "views": _covered(seen["views"], seen["hidden"].reshape(self.mask.grid) > 0)}


SCALE, ASPECT_OF, KNOWN = (0.15, 0.2), (0.75, 1.5), (0.85, 1.0)  # of targets and of the context, I-JEPA's code
DRAWN, FIT = 100, 10  # layouts of targets that are drawn before training, and how many of them must leave a context


@dataclass(frozen=True)
class Regions:
    """Views, and with each picture `targets` (T, M), M patches of each of T blocks, and `known` (K,), none of these.

    As Assran et al. 2023 (I-JEPA) draw them, but that each block has a size of its own, may touch the border, and that
    all pictures have as many: M is the smallest block's number of patches and K a quarter of all, of the block as far
    as no target covers it, and where that is less of what else is not covered. Targets that leave fewer are drawn anew.
    """

    views: Views
    grid: tuple[int, int]  # height and width, patches
    blocks: int
    told: int  # M: patches of the smallest target block

    @classmethod
    def over(cls, views: Views, grid: tuple[int, int], blocks: int) -> Regions:
        """With the smallest block that targets may be. RecipeError where so many blocks seldom leave a context."""
        shapes = [_shape(grid, SCALE[0], aspect) for aspect in np.linspace(*ASPECT_OF, 301).tolist()]
        made = cls(views, grid, blocks, min(height * width for height, width in shapes))
        generator = np.random.default_rng(0)
        if sum(made._leaves(made._layout(generator)) for _ in range(DRAWN)) < FIT:
            raise RecipeError(
                f"{blocks} blocks of targets leave too little of {grid[0]} x {grid[1]} patches to tell them from; use "
                "fewer blocks"
            )
        return made

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of `views` from a picture (H, W, C), `targets` and `known`: int64, ascending."""
        seen = self.views(image, generator)
        while not self._leaves(covered := self._layout(generator)):
            pass
        targets = [np.sort(generator.permutation(np.flatnonzero(one))[: self.told]) for one in covered]
        rank = 2.0 * np.any(covered, axis=0) - self._block(generator, KNOWN, (1.0, 1.0))  # first in it and not covered
        order = np.argsort((rank + 0.5 * generator.random(self.grid)).flatten())
        return {**seen, "targets": np.stack(targets), "known": np.sort(order[: rank.size // 4])}

    def visible(self, seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The view as far as it is known, and the blocks that are told of, for people."""
        parts = {name: np.isin(np.arange(self.grid[0] * self.grid[1]), seen[name]) for name in ("known", "targets")}
        return {name: _covered(seen["views"][0], ~part.reshape(self.grid)) for name, part in parts.items()}

    def _layout(self, generator: np.random.Generator) -> list[Bool[np.ndarray, "h w"]]:
        return [self._block(generator, SCALE, ASPECT_OF) for _ in range(self.blocks)]

    def _leaves(self, covered: list[Bool[np.ndarray, "h w"]]) -> bool:
        """Whether the context, a quarter of the patches, finds room beside these."""
        return bool((~np.any(covered, axis=0)).sum() >= self.grid[0] * self.grid[1] // 4)

    def _block(
        self, generator: np.random.Generator, scale: tuple[float, float], aspect: tuple[float, float]
    ) -> Bool[np.ndarray, "h w"]:
        size, form, down, along = generator.random(4).tolist()
        share, ratio = scale[0] + size * (scale[1] - scale[0]), aspect[0] + form * (aspect[1] - aspect[0])
        height, width = _shape(self.grid, share, ratio)
        top, left = int(down * (self.grid[0] - height + 1)), int(along * (self.grid[1] - width + 1))
        block = np.zeros(self.grid, bool)
        block[top : top + height, left : left + width] = True
        return block


def _shape(grid: tuple[int, int], scale: float, aspect: float) -> tuple[int, int]:
    """Height and width of a block: a share of the grid, never the whole of a side."""
    area = int(scale * grid[0] * grid[1])
    sides = round(sqrt(area * aspect)), round(sqrt(area / aspect))
    return min(sides[0], grid[0] - 1), min(sides[1], grid[1] - 1)


def _covered(pixels: np.ndarray, hidden: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """Pictures (..., H, W, C) whose hidden patches are of one grey, half-way from their darkest to their brightest."""
    height, width = pixels.shape[-3:-1]
    rows, columns = (np.arange(side) * count // side for side, count in zip((height, width), hidden.shape, strict=True))
    grey = (int(pixels.min()) + int(pixels.max())) // 2
    return np.where(hidden[rows][:, columns, None], pixels.dtype.type(grey), pixels)
