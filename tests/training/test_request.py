"""Lengths, settings, and whether what is asked fits the run that is to go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from contract_parts import everything_scanned, recipe_of

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.recipe import Recipe
from selfsight.training.request import Request, contradiction, parse_length, sorted_settings
from selfsight.training.values import RECIPE


@pytest.fixture(scope="module")
def recipe(photos: Path) -> Recipe:
    return recipe_of("simclr", photos, everything_scanned(photos))


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("10m", 10, "minutes"),
        ("2h", 120, "minutes"),
        ("90s", 1.5, "minutes"),
        ("0.5min", 0.5, "minutes"),
        ("2000steps", 2000, "steps"),
        ("1step", 1, "steps"),
        ("30epochs", 30, "epochs"),
        ("1.5epochs", 1.5, "epochs"),
        ("500kimages", 500_000, "images"),
        (" 2Mimages ", 2_000_000, "images"),
    ],
)
def test_lengths(text: str, number: float, unit: str) -> None:
    assert parse_length(text) == (pytest.approx(number), unit)


@pytest.mark.parametrize("text", ["", "10", "m", "0steps", "-3steps", "3 weeks", "1e3steps", "10mm", "nanm"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"is not a length; write 10m"):
        parse_length(text)


def test_settings_are_sorted_and_read_as_yaml() -> None:
    given = {"temperature": "0.3", "head": "lightly", "clip": "null", "momentum": "0.5"}
    own, loose = sorted_settings(methods.get("simclr"), "simclr", given)
    assert own == {"temperature": 0.3, "head": "lightly"}
    assert loose == {"clip": None, "momentum": 0.5}


def test_views_that_are_named_end_no_search_in_silence(recipe: Recipe, tmp_path: Path) -> None:
    """However they are named, and though they are those that the search is around."""
    searching, config = replace(recipe, searched={}), tmp_path / "recipe.yaml"
    config.write_text("settings: {augmentation: simclr}\n")
    for asked in ({"views": "simclr"}, {"settings": {"augmentation": "simclr"}}, {"config": str(config)}):
        said = "views are still being searched for, and now 'simclr' is named"
        assert contradiction(Request(**asked), searching) == said
    for asked in ({}, {"views": "search"}, {"views": "search", "config": str(config)}):
        assert contradiction(Request(**asked), searching) is None
    own = {**recipe.settings, "augmentation": "simclr-turns"}
    ended = replace(recipe, settings=own, searched={"simclr": 0.5, "simclr-turns": 0.6})
    assert contradiction(Request(views="search", config=str(config)), ended) is None, "the same command once more"
    assert contradiction(Request(views="simclr"), ended) == "augmentation was 'simclr-turns' and is now 'simclr'"


@pytest.mark.parametrize("name", methods.names())
def test_no_setting_of_a_method_has_the_name_of_a_recipes_entry(name: str) -> None:
    """Else `--set` would mean the one or the other."""
    assert not methods.settings(methods.get(name)).keys() & RECIPE.keys()


@pytest.mark.parametrize("text", ["1" + "0" * 400, "-1e999", ".nan"])
def test_a_number_that_none_can_hold_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="temperature cannot be"):
        sorted_settings(methods.get("simclr"), "simclr", {"temperature": text})


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"method 'simclr'.*'temprature'.*Did you mean 'temperature'"):
        sorted_settings(methods.get("simclr"), "simclr", {"temprature": "1"})


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"batch": 8, "method": "simclr", "length": "20steps"},
        {"settings": {"temperature": "0.2", "momentum": "0.9"}},
        {"views": "simclr"},
    ],
)
def test_the_same_again_is_no_contradiction(recipe: Recipe, asked: dict[str, object]) -> None:
    assert contradiction(Request(**asked), recipe) is None


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"method": "moco"}, "method was 'simclr' and is now 'moco'"),
        ({"batch": 16}, "batch was 8 and is now 16"),
        ({"encoder": "resnet18"}, "encoder was 'test_resnet' and is now 'resnet18'"),
        ({"length": "30steps"}, "length was '20steps' and is now '30steps'"),
        ({"lr": 1.0}, f"lr was {0.001 * (8 / 64) ** 0.5} and is now 1.0"),
        ({"settings": {"temperature": "0.3"}}, "temperature was 0.2 and is now 0.3"),
        ({"settings": {"momentum": "0.3"}}, "momentum was 0.9 and is now 0.3"),
        ({"views": "weak"}, "augmentation was 'simclr' and is now 'weak'"),
        ({"views": "weak", "settings": {"augmentation": "simclr"}}, "augmentation was 'simclr' and is now 'weak'"),
    ],
)
def test_a_contradiction_is_named(recipe: Recipe, asked: dict[str, object], sentence: str) -> None:
    assert contradiction(Request(**asked), recipe) == sentence


def test_a_config_is_compared_too(recipe: Recipe, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(recipe.to_yaml())
    assert contradiction(Request(config=str(config)), recipe) is None
    config.write_text("batch: 4\ndata: [elsewhere]\nsteps: 3\nworld: 2\nmomentum: 0.5\n")
    assert contradiction(Request(config=str(config)), recipe) == "batch was 8 and is now 4"
    asked = Request(config=str(config), batch=8)
    assert contradiction(asked, recipe) == "momentum was 0.9 and is now 0.5"
    assert contradiction(replace(asked, settings={"momentum": "0.9"}), recipe) is None, "what is asked wins"
    config.write_text("settings: {temperature: 0.25}\n")
    assert contradiction(Request(config=str(config)), recipe) == "temperature was 0.2 and is now 0.25"


def test_another_runs_encoder_is_compared_by_its_weights(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").touch()
    weights = str((tmp_path / "encoder" / "model.safetensors").resolve())
    asked = Request(encoder=str(tmp_path))
    assert contradiction(asked, recipe) == f"weights was None and is now {weights!r}"
    assert contradiction(asked, replace(recipe, weights=weights)) is None


def test_a_longer_recipe_differs(recipe: Recipe) -> None:
    assert recipe.difference(replace(recipe, steps=30)) == "steps was 20 and is now 30"
