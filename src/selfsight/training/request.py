"""What was asked for, and whether it fits the run that is to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from selfsight import methods
from selfsight.errors import RecipeError, unknown
from selfsight.methods.base import Method
from selfsight.recipe import Columns, Recipe

TUNABLE = (
    "optimizer",
    "momentum",
    "weight_decay",
    "warmup",
    "clip",
    "monitor_points",
    "monitor_pictures",
    "channels_last",
)
MINUTES = {"m": 1.0, "min": 1.0, "h": 60.0, "s": 1 / 60}


@dataclass(frozen=True)
class Request:
    """What was asked for. None means: decide."""

    data: list[str] = field(default_factory=list)
    method: str | None = None
    encoder: str | None = None
    weights: str | None = None
    pretrained: bool = False
    views: str | None = None
    size: int | None = None
    batch: int | None = None
    micro_batch: int | None = None
    length: str | None = None
    lr: float | None = None
    seed: int | None = None
    threads: int | None = None
    precision: str | None = None
    device: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None
    use_all: bool = False
    columns: Columns = field(default_factory=Columns)


def sorted_settings(kind: type[Method], method: str, asked: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` entries: the method's own settings and loose recipe entries, values read as YAML."""
    known, own, loose = methods.settings(kind), {}, {}
    for name, text in asked.items():
        value = as_value(name, text)
        if name in known:
            own[name] = value
        elif name in TUNABLE:
            loose[name] = value
        else:
            raise RecipeError(f"method {method!r}: {unknown('setting', name, [*known, *TUNABLE])}")
    return own, loose


def as_value(name: str, text: Any) -> Any:
    """What `--set name=text` means: text is read as YAML, so 0.2 is a number and true a truth value."""
    try:
        return yaml.safe_load(text) if isinstance(text, str) else text
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {name}={text}: the value cannot be read; put quotes around text") from error


def parse_length(text: str) -> tuple[float, str]:
    """(number, unit) of 10m, 2000steps, 30epochs, 500kimages; RecipeError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M)?(m|min|h|s|steps?|epochs?|images?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise RecipeError(f"--for {text!r} is not a length; write 10m, 2h, 2000steps, 30epochs or 500kimages")
    number = float(match[1]) * {None: 1, "k": 1e3, "M": 1e6}[match[2]]
    if match[3] in MINUTES:
        return number * MINUTES[match[3]], "minutes"
    return number, match[3].rstrip("s") + "s"


def contradiction(request: Request, recipe: Recipe) -> str | None:
    """One sentence when what is asked explicitly differs from the recipe of the run that is to go on."""
    names = ("method", "size", "batch", "micro_batch", "length", "lr", "seed", "threads", "precision", "device")
    asked = {name: getattr(request, name) for name in names}
    asked |= {"pretrained": request.pretrained or None, "use_all": request.use_all or None}
    asked["weights"] = str(Path(request.weights).resolve()) if request.weights else None
    asked["columns"] = request.columns if request.columns != Columns() else None
    if request.encoder and not Path(request.encoder).exists():
        asked["encoder"] = request.encoder
    for name, value in asked.items():
        have = getattr(recipe, name)
        if value is not None and value != have:
            return f"{name} was {have!r} and is now {value!r}"
    wanted = {name: as_value(name, text) for name, text in request.settings.items()}
    if request.views:
        wanted["augmentation"] = request.views
    for name, value in wanted.items():
        have = recipe.settings.get(name, getattr(recipe, name, None))
        if have != value:
            return f"{name} was {have!r} and is now {value!r}"
    return None
