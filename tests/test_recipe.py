"""A recipe survives YAML with its reasons, and says what is wrong with one that does not fit."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from selfsight.errors import DataError, RecipeError, RunError
from selfsight.recipe import Columns, Count, Decay, Part, Portion, Positive, Recipe, kinds_of, read_config, spelled

RECIPE = Recipe(
    data=["/pictures/of mine # 1", "/bilder/äöü"],
    method="moco",
    settings={"negatives": 64, "width": 128, "augmentation": "moco", "symmetric": False, "nothing": None},
    encoder="resnet18",
    size=32,
    batch=8,
    micro_batch=4,
    length="10m",
    steps=20,
    seed=0,
    optimizer="sgd",
    lr=1e-5,
    momentum=0.9,
    weight_decay=1e-4,
    warmup=0.1,
    clip=None,
    precision="fp32",
    channels_last=False,
    threads=1,
    device="cpu",
    world=1,
    pictures=64,
    listing="abc",
    pixels={"channels": 3, "low": 0.0, "high": 255.0, "mean": [0.1, 0.2, 0.3]},
    columns=Columns(label="class", shared_labels=True),
)


def kept(recipe: Recipe, folder: Path, reasons: dict[str, str] | None = None) -> Path:
    file = folder / "recipe.yaml"
    file.write_bytes(recipe.to_yaml(reasons).encode())
    return file


def test_a_recipe_comes_back_with_its_stage(tmp_path: Path) -> None:
    recipe = replace(RECIPE, before=replace(RECIPE, method="simclr", clip=5.0))
    again = Recipe.from_yaml(kept(recipe, tmp_path))
    assert again == recipe
    assert isinstance(again.before, Recipe)
    assert isinstance(again.columns, Columns)
    assert recipe.difference(again) is None


def test_one_that_could_not_be_read_again_is_refused() -> None:
    places = [f"/pictures/of/a/patient/{number:06d}" for number in range(5000)]
    with pytest.raises(DataError, match="the names of 5,000 places are too long"):
        replace(RECIPE, data=places).to_yaml()


@example(reason="", place="\x85", rate=1.0)  # a line's end to YAML
@example(reason="", place="\xa0", rate=1.0)  # a space to Python
@given(reason=st.text(max_size=40), place=st.text(min_size=1, max_size=20), rate=st.floats(1e-12, 1e6))
def test_reasons_and_odd_names_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, reason: str, place: str, rate: float
) -> None:
    settings = {"name": place, "several": [place, "b: c"], "nothing": None}
    recipe = replace(RECIPE, data=[place], lr=rate, settings=settings)
    names = [field.name for field in fields(Recipe)]
    reasons = dict.fromkeys([*names, *(f"settings.{name}" for name in recipe.settings)], reason)
    assert Recipe.from_yaml(kept(recipe, tmp_path_factory.getbasetemp(), reasons)) == recipe


def test_reasons_stand_behind_their_values() -> None:
    recipe = replace(RECIPE, before=replace(RECIPE, method="vq"))
    why = {"batch": "published 256; 8 at most\nhere", "settings.width": "as asked", "before": "33 % of the time"}
    text = recipe.to_yaml(why)
    assert "batch: 8  # published 256; 8 at most here" in text
    assert "\n  negatives: 64\n" in text
    assert "\n  width: 128  # as asked\n" in text
    assert "\nbefore:  # 33 % of the time\n" in text
    assert Recipe.from_dict(yaml.safe_load(text), "text") == recipe


def test_steps_and_epochs() -> None:
    assert RECIPE.epoch_steps == 8
    assert RECIPE.epochs == 2.5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("bacth: 8\n", "Did you mean 'batch'"),
        ("columns: {labels: a}\n", "not a whole recipe"),
        ("columns: 3\n", "not a whole recipe"),
        ("before: {method: x}\n", "not a whole recipe"),
        ("before: 3\n", "holds no recipe"),
    ],
)
def test_a_recipe_that_does_not_fit_names_the_entry(tmp_path: Path, change: str, sentence: str) -> None:
    file = kept(RECIPE, tmp_path)
    lines = [line for line in file.read_text().splitlines() if not line.startswith(change.split(":")[0])]
    text = yaml.safe_dump({**yaml.safe_load(file.read_text()), **yaml.safe_load(change)})
    assert lines
    file.write_text(text)
    with pytest.raises(RunError, match=sentence):
        Recipe.from_yaml(file)


@pytest.mark.parametrize("content", ["", "[]", "3", "method: simclr", "a: [", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(RunError, match=r"recipe\.yaml"):
        Recipe.from_yaml(tmp_path / "recipe.yaml")


def test_no_recipe_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        Recipe.from_yaml(tmp_path / "recipe.yaml")


def test_a_difference_is_named() -> None:
    assert RECIPE.difference(replace(RECIPE, batch=16, lr=0.1)) == (
        "batch was 8 and is now 16; lr was 1e-05 and is now 0.1"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("bacth: 8", "Did you mean 'batch'"), ("[batch]", "entries"), ("a: [", "cannot be read"), ("3", "entries")],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(RecipeError, match=sentence):
        read_config(tmp_path / "c.yaml")


def test_a_config_is_some_entries_or_none(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("batch: 8\nsettings: {temperature: 0.3}\n")
    assert read_config(tmp_path / "c.yaml") == {"batch": 8, "settings": {"temperature": 0.3}}
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert read_config(tmp_path / "c.yaml") == {}
    with pytest.raises(RecipeError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("kind", "told", "good", "bad"),
    [
        (Count | None, "int from 1 on", 1, 0),
        (Positive, "float above 0", 1e-9, 0.0),
        (Portion, "float from 0 to 1", 1.0, 1.1),
        (Part, "float above 0 to 1", 1.0, 0.0),
        (Decay, "float from 0 to 0.9999", 0.0, 1.0),
    ],
)
def test_a_kind_knows_its_numbers(kind: Any, told: str, good: float, bad: float) -> None:
    _, limits = kinds_of(kind)
    assert limits is not None
    assert good in limits
    assert bad not in limits
    assert spelled(kind) == told


def test_a_kind_without_limits_allows_all() -> None:
    assert kinds_of(dict[str, Any]) == ([dict], None)
    assert kinds_of(int | None) == ([int, type(None)], None)
    assert spelled(float | None) == "float"
