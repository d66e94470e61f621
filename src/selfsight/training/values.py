"""Values: whether each is of the kind and in the range that its place needs, and why it was taken."""

from __future__ import annotations

import sys
import typing
from dataclasses import dataclass, field
from typing import Any

import yaml

from selfsight.errors import RecipeError
from selfsight.methods.base import Method
from selfsight.recipe import Recipe, Within, kinds_of
from selfsight.training.best import KEEPS
from selfsight.training.optimizers import OPTIMIZERS

__all__ = ["RECIPE", "Plan", "as_value", "checked", "kinds_of_settings"]

RECIPE: dict[str, Any] = typing.get_type_hints(Recipe, include_extras=True)  # the annotated kind of each entry
CHOICES = {
    "optimizer": OPTIMIZERS,
    "precision": ("fp32", "bf16"),
    "on_collapse": ("warn", "stop"),
    "keep": tuple(KEEPS),
}
LARGEST = sys.float_info.max
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "key: value",
    list: "a list",
}


@dataclass
class Plan:
    """Values that are settled so far, with reasons."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def settle(self, name: str, asked: Any, automatic: Any, reason: str) -> Any:
        """The asked value, or else the configured one, or else the automatic one with its reason."""
        if asked is not None:
            self.values[name], self.reasons[name] = checked(name, asked, RECIPE[name]), "as asked"
        elif name not in self.values:
            self.values[name], self.reasons[name] = automatic, reason
        return self.values[name]


def as_value(name: str, text: Any) -> Any:
    """What `--set name=text` means: a number, else YAML, which does not take 1e-4 for a number."""
    if not isinstance(text, str):
        return text
    if (number := _number(text)) is not None:
        return number
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {name}={text}: the value cannot be read; put quotes around text") from error


def kinds_of_settings(method: type[Method]) -> dict[str, Any]:
    """The annotated kind of each setting of a method's constructor."""
    return typing.get_type_hints(method.__init__, include_extras=True)


def checked(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind` (3 for a float becomes 3.0); RecipeError says what would do."""
    kinds, limits = kinds_of(kind)
    if value is None and type(None) in kinds:
        return None
    kinds = [one for one in kinds if one is not type(None)]
    for one in kinds:
        found = _as(value, one)
        if found is not None and _within(name, found, limits):
            return found
    raise RecipeError(f"{name} cannot be {value!r}: it must be {_wanted(name, kinds, limits)}")


def _as(value: Any, kind: Any) -> Any:
    """The value as `kind`, or None. Text of a number is one: YAML takes 1e-4 for text."""
    if kind not in WORDS:
        return value  # a kind that is not simple, such as a record of its own
    if kind in (int, float) and not isinstance(value, bool):
        number = _number(value) if isinstance(value, str) else value
        if not isinstance(number, int | float) or not -LARGEST <= number <= LARGEST:  # nor NaN
            return None
        return float(number) if kind is float else int(number) if number == int(number) else None
    if kind is list:
        return list(value) if isinstance(value, list | tuple) else None
    return value if isinstance(value, kind) and (kind is not int or not isinstance(value, bool)) else None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _within(name: str, value: Any, limits: Within | None) -> bool:
    if name in CHOICES:
        return value in CHOICES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return limits is None or not number or value in limits


def _wanted(name: str, kinds: list[Any], limits: Within | None) -> str:
    if name in CHOICES:
        return " or ".join(CHOICES[name])
    words = " or ".join(WORDS.get(kind, "another value") for kind in kinds)
    return f"{words} {limits}" if limits else words
