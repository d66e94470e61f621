"""Multi-crop: two sizes, two recipes, and large views that the small ones do not change."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from selfsight.errors import RecipeError
from selfsight.views.multicrop import multi_crop
from selfsight.views.recipes import get, multi_view

PICTURE = np.random.default_rng(0).integers(0, 65536, (60, 50, 5), dtype=np.uint16)


def test_two_sizes_of_the_pictures_type() -> None:
    views = multi_crop(("lejepa", "lejepa-local"), (224, 98), (2, 6))
    found = views(PICTURE, np.random.default_rng(1))
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "views": ((2, 224, 224, 5), np.uint16),
        "crops": ((6, 98, 98, 5), np.uint16),
    }
    assert len(pickle.dumps(views)) < 1500
    again = pickle.loads(pickle.dumps(views))(PICTURE, np.random.default_rng(1))
    assert all((found[name] == again[name]).all() for name in found)
    alone = multi_view("lejepa", 224)(PICTURE, np.random.default_rng(1))
    assert (alone["views"] == found["views"]).all()


def test_small_crops_have_the_row_of_the_large_views() -> None:
    views = multi_crop(("simclr", "simclr"), (224, 64), (2, 3))
    assert views.small.recipes == (get("simclr", 224),) * 3


def test_small_crops_follow_the_changes_of_the_large_views() -> None:
    """What two views keep, eight small ones must not throw away; only their area is their own."""
    views = multi_crop(("dino-gentle-keep-colour-turns", "dino-local"), (128, 55), (2, 8))
    assert views.small.recipes == (get("dino-local-keep-colour-turns", 128),) * 8
    assert not views.small.recipes[0].jitter_chance
    assert views.small.recipes[0].area == get("dino-local", 128).area


def test_without_small_crops_it_is_views_alone() -> None:
    assert multi_crop(("simclr", "lejepa-local"), (32, 14), (4, 0)) == multi_view("simclr", 32, 4)
    with pytest.raises(RecipeError, match="Did you mean 'lejepa-local'"):
        multi_crop(("simclr", "lejepa-locl"), (32, 14), (4, 0))
