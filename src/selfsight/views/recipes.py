"""The named view recipes: what is random, how much, and whose numbers they are.

Every recipe has a row for small views (up to 96 pixels) and one for larger ones; sources that give only one use it for
both. Behind a name may stand `CHANGES`, as in `simclr-keep-colour` or `byol-gentle-turns`. `multi_view` turns a name
into the callable that a method hands to the loader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from itertools import cycle, islice
from typing import Any

import numpy as np

from selfsight.data.ranges import FULL
from selfsight.errors import RecipeError, unknown
from selfsight.views import draw as drawing
from selfsight.views.draw import Draw, Step
from selfsight.views.render import render

NEAR = 0.85  # likeness of a name to a recipe's, above which that one is meant and not a change of another
SMALL = 96  # largest view, in pixels, for which the rows of 32-pixel data sets are used


@dataclass(frozen=True)
class Recipe:
    """The distribution that a view is drawn from. Chances are in [0, 1]."""

    area: tuple[float, float]  # share of the picture that the crop covers
    aspect: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the crop
    flip: float = 0.5  # chance of a mirror image
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # brightness, contrast, saturation, hue
    jitter_chance: float = 0.0
    grey: float = 0.0  # chance; N channels all become their mean, and a single one is grey by nature
    grey_first: bool = False  # grey before the jitter instead of after it
    blur: float = 0.0  # chance
    sigma: tuple[float, float] = (0.1, 2.0)  # of the blur, pixels of the view
    solarise: float = 0.0  # chance
    turns: bool = False  # a quarter turn, a half, three quarters or none, equally often
    low: float = 0.0  # of more than 8 bits, the pixel values that are black and white, see `within`
    high: float = float(FULL)

    def draw(self, shape: tuple[int, ...], numbers: list[float]) -> Draw:
        """One view's choices for a picture of `shape` (H, W, C) from `draw.length(C)` uniform numbers."""
        height, width, channels = shape
        box = drawing.crop(numbers[drawing.CROP : drawing.GAINS], height, width, self.area, self.aspect)
        colour, gains = self._colour(numbers, channels)
        low, high = self.sigma
        blurred = numbers[drawing.BLUR] < self.blur
        sigma = low + numbers[drawing.SIGMA] * (high - low) if blurred else 0.0
        solarised = numbers[drawing.SOLARISE] < self.solarise
        turns = int(4 * numbers[drawing.TURN]) if self.turns else 0
        flip = numbers[drawing.FLIP] < self.flip
        return Draw(*box, flip, colour, gains, sigma, solarised, turns, self.low, self.high)

    def _colour(self, numbers: list[float], channels: int) -> tuple[tuple[Step, ...], tuple[float, ...]]:
        steps: tuple[Step, ...] = ()
        gains: tuple[float, ...] = ()
        if numbers[drawing.JITTER] < self.jitter_chance:
            steps = drawing.jitter(
                numbers[drawing.ORDER], numbers[drawing.AMOUNTS : drawing.GREY], self.jitter, channels
            )
            if channels not in (1, 3):
                gains = drawing.gains(numbers[drawing.GAINS :], self.jitter[2])
        if channels > 1 and numbers[drawing.GREY] < self.grey:
            steps = (drawing.TO_GREY, *steps) if self.grey_first else (*steps, drawing.TO_GREY)
        return steps, gains


@dataclass(frozen=True)
class MultiView:
    """Views of one picture, one per recipe, all of one size."""

    recipes: tuple[Recipe, ...]
    size: int  # side, pixels

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`{"views": (V, size, size, C)}` of the picture's type from (H, W, C), uint8 or uint16."""
        channels = image.shape[2]
        blocks = generator.random((len(self.recipes), drawing.length(channels))).tolist()
        views = np.empty((len(self.recipes), self.size, self.size, channels), image.dtype)
        for view, (recipe, numbers) in enumerate(zip(self.recipes, blocks, strict=True)):
            views[view] = render(image, recipe.draw(image.shape, numbers), self.size)
        return {"views": views}


# Sources: SimCLR, google-research/simclr data_util.py, and its README for CIFAR-10 (strength 0.5, no blur); MoCo,
# facebookresearch/moco main_moco.py (v1, v2) and its CIFAR-10 notebook; SupCon, HobbitLong/SupContrast (the paper's
# AutoAugment for large pictures is not here); BYOL, whose views Barlow Twins, VICReg and MoCo v3 share, solo-learn's
# asymmetric.yaml for small pictures; VICReg, solo-learn's vicreg.yaml for small pictures; LeJEPA, rbalestr-lab/lejepa;
# DINO, facebookresearch/dino main_dino.py, for small pictures without the blur; SwAV, facebookresearch/swav; I-JEPA,
# facebookresearch/ijepa.
_SIMCLR_SMALL = Recipe((0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_chance=0.8, grey=0.2)
_SIMCLR = Recipe((0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_chance=0.8, grey=0.2, blur=0.5)
_MOCO_SMALL = _SIMCLR_SMALL  # the notebook's row is the same
_MOCO1 = Recipe((0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_chance=1.0, grey=0.2, grey_first=True)
_MOCO2 = Recipe((0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_chance=0.8, grey=0.2, blur=0.5)
_SUPCON = Recipe((0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_chance=0.8, grey=0.2)
_CROP_FLIP = Recipe((0.2, 1.0))  # MAE's views, facebookresearch/mae
_ZOOM_FLIP = Recipe((0.08, 1.0))  # facebookresearch/deepcluster main.py; microsoft/unilm beit/datasets.py
_SYMMETRIC = _SIMCLR  # solo-learn symmetric.yaml, for small pictures too
_WHOLE = Recipe((1.0, 1.0), (1.0, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_chance=0.8)  # ours: the centred square
_VDVS_REPO = Recipe((0.8, 1.0), flip=0.0)  # evrimozmermer/vectorsum_vectordifference, after its rotation
_WEAK = Recipe((0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.05), jitter_chance=0.8)  # ours: most of the picture, mild colour

_BYOL_FIRST = Recipe((0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_chance=0.8, grey=0.2, blur=1.0)
_BYOL = (_BYOL_FIRST, replace(_BYOL_FIRST, blur=0.1, solarise=0.2))
_BYOL_SMALL = (replace(_BYOL_FIRST, blur=0.0), replace(_BYOL_FIRST, blur=0.0, solarise=0.2))
_VICREG_SMALL = replace(_BYOL_FIRST, area=(0.2, 1.0), blur=0.0, solarise=0.1)
_LEJEPA = replace(_BYOL_FIRST, area=(0.3, 1.0), blur=0.5, solarise=0.2)
_LEJEPA_LOCAL = replace(_LEJEPA, area=(0.05, 0.3))
_DINO = tuple(replace(one, area=(0.4, 1.0)) for one in _BYOL)
_DINO_SMALL = tuple(replace(one, area=(0.4, 1.0)) for one in _BYOL_SMALL)
_DINO_ALONE = tuple(replace(one, area=(0.14, 1.0)) for one in _BYOL)
_DINO_ALONE_SMALL = tuple(replace(one, area=(0.14, 1.0)) for one in _BYOL_SMALL)
_DINO_LOCAL = replace(_BYOL_FIRST, area=(0.05, 0.4), blur=0.5)
_SWAV, _SWAV_SMALL = replace(_SIMCLR, area=(0.14, 1.0)), replace(_SIMCLR_SMALL, area=(0.14, 1.0))
_SWAV_LOCAL, _SWAV_LOCAL_SMALL = (replace(one, area=(0.05, 0.14)) for one in (_SWAV, _SWAV_SMALL))
_IJEPA = Recipe((0.3, 1.0), flip=0.0)


Rows = Recipe | tuple[Recipe, ...]
"""One recipe for all views of a picture, or several that take turns."""
RECIPES: dict[str, tuple[Rows, Rows]] = {  # name: (up to SMALL pixels, larger)
    "simclr": (_SIMCLR_SMALL, _SIMCLR),
    "moco": (_MOCO_SMALL, _MOCO2),
    "moco1": (_MOCO1, _MOCO1),
    "supcon": (_SUPCON, _SUPCON),
    "crop-flip": (_CROP_FLIP, _CROP_FLIP),
    "zoom-flip": (_ZOOM_FLIP, _ZOOM_FLIP),
    "symmetric": (_SYMMETRIC, _SYMMETRIC),
    "weak": (_WEAK, _WEAK),
    "whole": (_WHOLE, _WHOLE),
    "vdvs-repo": (_VDVS_REPO, _VDVS_REPO),
    "byol": (_BYOL_SMALL, _BYOL),
    "vicreg": (_VICREG_SMALL, _BYOL),
    "lejepa": (_LEJEPA, _LEJEPA),
    "lejepa-local": (_LEJEPA_LOCAL, _LEJEPA_LOCAL),
    "dino": (_DINO_SMALL, _DINO),
    "dino-alone": (_DINO_ALONE_SMALL, _DINO_ALONE),
    "dino-local": (replace(_DINO_LOCAL, blur=0.0), _DINO_LOCAL),
    "swav": (_SWAV_SMALL, _SWAV),
    "swav-local": (_SWAV_LOCAL_SMALL, _SWAV_LOCAL),
    "ijepa": (_IJEPA, _IJEPA),
}
CHANGES: dict[str, Callable[[Recipe], Recipe]] = {  # what may be said of any of them, ours
    "keep-colour": lambda one: replace(one, jitter=(0.0,) * 4, jitter_chance=0.0, grey=0.0, solarise=0.0),
    "keep-hue": lambda one: replace(one, jitter=(*one.jitter[:2], 0.0, 0.0), grey=0.0, solarise=0.0),
    "gentle": lambda one: replace(one, area=(max(one.area[0], 0.3), one.area[1])),  # larger parts of the picture
    "blurred": lambda one: replace(one, blur=0.5),
    "turns": lambda one: replace(one, turns=True),  # for pictures that have no upright
    "upright": lambda one: replace(one, flip=0.0),  # left and right are not the same
    "never-grey": lambda one: replace(one, grey=0.0),
}


def names() -> list[str]:
    """The names of all recipes."""
    return list(RECIPES)


def changed(name: str) -> tuple[str, list[str]]:
    """A recipe's name and the changes behind it: `simclr-keep-colour-turns` is simclr, and these two."""
    for change in CHANGES:
        if name.endswith(f"-{change}"):
            first, others = changed(name.removesuffix(f"-{change}"))
            return first, [*others, change]
    return name, []


def rows(name: str, size: int) -> tuple[Recipe, ...]:
    """The recipes of that name for views of `size` pixels, which take turns. Raises RecipeError on an unknown name."""
    first, changes = changed(name)
    if first not in RECIPES:
        for base in sorted(RECIPES, key=len, reverse=True):
            if first.startswith(f"{base}-") and not get_close_matches(first, RECIPES, cutoff=NEAR):
                raise RecipeError(unknown(f"change of {base!r}", first.removeprefix(f"{base}-"), CHANGES))
        raise RecipeError(unknown("view recipe", name, RECIPES))
    found = RECIPES[first][size > SMALL]
    several = found if isinstance(found, tuple) else (found,)
    for change in changes:
        several = tuple(map(CHANGES[change], several))
    return several


def get(name: str, size: int) -> Recipe:
    """The first of `rows`: where one view is enough."""
    return rows(name, size)[0]


def multi_view(name: str, size: int, views: int = 2) -> MultiView:
    """`views` independent draws by the recipe of that name, `size` pixels a side. RecipeError on an unknown name."""
    return MultiView(tuple(islice(cycle(rows(name, size)), views)), size)


def within(views: Any, low: float, high: float) -> Any:
    """The same views of pictures of more than 8 bits whose black and white are `low` and `high`.

    `views` is what a method hands to the loader: every recipe that it holds, however deep, is given them.
    """
    if isinstance(views, Recipe):
        return replace(views, low=low, high=high)
    if type(views) is tuple:
        return tuple(within(one, low, high) for one in views)
    if is_dataclass(views) and not isinstance(views, type):
        return replace(views, **{field.name: within(getattr(views, field.name), low, high) for field in fields(views)})
    return views
