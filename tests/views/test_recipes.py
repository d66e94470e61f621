"""Recipes: found by name, light, and each view keyed on its own."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from selfsight.errors import RecipeError
from selfsight.views import draw as drawing
from selfsight.views import recipes
from selfsight.views.keyed import Keyed
from selfsight.views.multicrop import MultiCrop
from selfsight.views.render import render, solarised


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no view recipe 'simclt'.*Did you mean 'simclr'"):
        recipes.multi_view("simclt", 32)


@pytest.mark.parametrize("name", recipes.names())
def test_views_are_light_and_the_same_after_a_journey(name: str) -> None:
    views = recipes.multi_view(name, 32)
    packed = pickle.dumps(views)
    assert len(packed) < 1000
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    here, there = (v(image, np.random.default_rng(3))["views"] for v in (views, pickle.loads(packed)))
    assert here.shape == (2, 32, 32, 3)
    assert (here == there).all()
    assert (here[0] != here[1]).any()


def test_a_view_does_not_depend_on_how_many_follow() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (40, 50, 5), dtype=np.uint16)
    two, four = (recipes.multi_view("simclr", 224, n)(image, np.random.default_rng(3))["views"] for n in (2, 4))
    assert four.dtype == np.uint16
    assert (two == four[:2]).all()


def test_small_views_have_the_rows_of_small_pictures() -> None:
    assert recipes.get("simclr", 96).jitter == (0.4, 0.4, 0.4, 0.1)
    assert recipes.get("simclr", 96).blur == 0.0
    assert recipes.get("simclr", 97).jitter == (0.8, 0.8, 0.8, 0.2)
    assert recipes.get("simclr", 224).blur == 0.5
    assert (recipes.get("moco", 32).area, recipes.get("moco", 224).area) == ((0.08, 1.0), (0.2, 1.0))


def test_two_recipes_of_one_name_take_turns() -> None:
    for size, (first, second) in ((32, (0.0, 0.0)), (224, (1.0, 0.1))):
        views = recipes.multi_view("byol", size, 3).recipes
        assert [one.blur for one in views] == [first, second, first]
        assert [one.solarise for one in views] == [0.0, 0.2, 0.0]
        assert recipes.get("byol", size) == views[0]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_solarised_is_inverted_above_half_of_full_scale(channels: int, kind: type) -> None:
    always = recipes.Recipe((1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, solarise=1.0)
    full = np.iinfo(kind).max
    image = np.random.default_rng(0).integers(0, full, (20, 20, channels), dtype=kind, endpoint=True)
    view = recipes.MultiView((always,), 20)(image, np.random.default_rng(0))["views"][0]
    assert view.dtype == image.dtype
    assert (view == np.where(image > full // 2, full - image, image)).all()


@pytest.mark.parametrize("dress", [Keyed, lambda views: MultiCrop(views, views)])
def test_ten_bits_and_floats_look_as_eight_do(dress: Callable[[Any], Any]) -> None:
    """They are solarised and made brighter within the range of their set, wherever that lies in 16 bits."""
    image = load_sample_images().images[0][100:180, 200:280]
    views = dress(recipes.multi_view("byol", 32, 16))
    for low, each in ((0, 4), (16384, 128)):
        deep = recipes.within(views, low, low + 255 * each)(image.astype(np.uint16) * each + low, generator())["views"]
        shown = ((deep.astype(float) - low) / each).clip(0, 255)
        assert np.abs(shown - views(image, generator())["views"]).mean() < 1


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_solarised_is_never_darker_than_black() -> None:
    view = np.array([[[90, 100, 149, 151, 200, 65535]]], np.uint16)
    assert solarised(view, 100, 200).tolist() == [[[90, 100, 149, 149, 100, 100]]]


def test_solarising_is_a_choice_of_its_own() -> None:
    recipe, generator = recipes.rows("lejepa", 224)[0], np.random.default_rng(0)
    drawn = [recipe.draw((90, 80, 3), generator.random(drawing.length(3)).tolist()) for _ in range(4000)]
    chosen = np.array([(one.solarise, one.flip, one.sigma > 0, one.left > 9) for one in drawn], float)
    assert abs(chosen[:, 0].mean() - 0.2) < 4 * (0.16 / 4000) ** 0.5
    assert (np.abs(np.corrcoef(chosen.T)[0, 1:]) < 4 / 4000**0.5).all()


def test_keeping_colour_keeps_everything_else() -> None:
    kept, usual = recipes.get("simclr-keep-colour", 224), recipes.get("simclr", 224)
    assert (kept.area, kept.blur, kept.flip) == (usual.area, usual.blur, usual.flip)
    image = np.full((50, 50, 3), (200, 90, 10), np.uint8)
    views = recipes.multi_view("simclr-keep-colour", 224)(image, np.random.default_rng(0))["views"]
    assert (views == image[0, 0]).all()


def test_changes_of_a_recipe_go_together_and_leave_the_rest() -> None:
    both, usual = recipes.rows("byol-gentle-turns", 224), recipes.rows("byol", 224)
    assert len(both) == 2
    for changed, one in zip(both, usual, strict=True):
        assert (changed.area, changed.turns) == ((0.3, 1.0), True)
        assert replace(changed, area=one.area, turns=False) == one
    assert recipes.rows("simclr-turns-gentle", 32) == recipes.rows("simclr-gentle-turns", 32)
    assert recipes.get("moco1-keep-hue", 32).jitter == (0.4, 0.4, 0.0, 0.0)
    assert not any(one.solarise or one.grey for one in recipes.rows("byol-keep-hue", 32)), "both change hues"
    assert (recipes.get("weak-upright", 32).flip, recipes.get("weak-blurred", 32).blur) == (0.0, 0.5)
    assert replace(recipes.get("simclr-never-grey", 32), grey=0.2) == recipes.get("simclr", 32)
    with pytest.raises(RecipeError, match="no view recipe 'simclt-gentle'"):
        recipes.rows("simclt-gentle", 32)
    with pytest.raises(RecipeError, match=r"no change of 'simclr' 'keep-color'.*Did you mean 'keep-colour'"):
        recipes.rows("simclr-keep-color-turns", 32)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_quarter_turns_are_those_of_the_view_and_equally_often(channels: int) -> None:
    recipe, generator = recipes.get("simclr-turns", 32), np.random.default_rng(0)
    image = np.random.default_rng(1).integers(0, 256, (40, 50, channels), dtype=np.uint8)
    drawn = [recipe.draw(image.shape, generator.random(drawing.length(channels)).tolist()) for _ in range(2000)]
    for one in drawn[:20]:
        assert (render(image, one, 16) == np.rot90(render(image, one._replace(turns=0), 16), one.turns)).all()
    chosen = np.array([(one.turns, one.flip, one.left > 9) for one in drawn], float)
    assert (np.abs(np.bincount(chosen[:, 0].astype(int)) / 2000 - 0.25) < 4 * (0.1875 / 2000) ** 0.5).all()
    assert (np.abs(np.corrcoef(chosen.T)[0, 1:]) < 4 / 2000**0.5).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_grey_makes_any_channels_their_mean(channels: int, kind: type) -> None:
    always = recipes.Recipe((1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, grey=1.0)
    image = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (20, 20, channels), dtype=kind, endpoint=True)
    view = recipes.MultiView((always,), 20)(image, np.random.default_rng(0))["views"][0]
    assert view.shape == image.shape
    assert view.dtype == image.dtype
    assert (view == view[..., :1]).all()
    assert np.abs(view[..., 0] - image.mean(axis=2)).max() <= 0.51


def test_one_channel_is_grey_already() -> None:
    always = recipes.Recipe((1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, grey=1.0)
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 1), dtype=np.uint8)
    assert (recipes.MultiView((always,), 20)(image, np.random.default_rng(0))["views"][0] == image).all()
