"""Multi-crop: a few large views of a picture and many small crops, which cost little (Caron et al. 2020, SwAV)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsight.views.recipes import MultiView, changed, multi_view

__all__ = ["MultiCrop", "multi_crop"]


@dataclass(frozen=True)
class MultiCrop:
    """Views of two sizes. Whatever the small ones are, the large ones are as they would be alone."""

    large: MultiView
    small: MultiView

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`views` (V, size, size, C) and `crops` (K, small, small, C) of the type of the picture (H, W, C)."""
        return {**self.large(image, generator), "crops": self.small(image, generator)["views"]}


def multi_crop(names: tuple[str, str], sizes: tuple[int, int], counts: tuple[int, int]) -> MultiView | MultiCrop:
    """Views by the two recipes of those names, large and small; without small ones `views` alone.

    Which row of the small recipe it is, the large size decides: both belong to one published list. Changes behind the
    large recipe's name are made to the small one too, but for `gentle`, which is about how much is cropped. RecipeError
    on an unknown name.
    """
    large = multi_view(names[0], sizes[0], counts[0])
    changes = [change for change in changed(names[0])[1] if change != "gentle"]
    small = MultiView(multi_view("-".join([names[1], *changes]), sizes[0], counts[1]).recipes, sizes[1])
    return MultiCrop(large, small) if counts[1] else large
