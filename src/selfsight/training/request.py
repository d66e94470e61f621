"""What was asked for, and whether it fits the run that is to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsight import checkpoints, methods
from selfsight.errors import RecipeError, unknown
from selfsight.methods.base import Method
from selfsight.nn import families
from selfsight.recipe import Columns, Recipe, read_config
from selfsight.runs import SEARCH
from selfsight.training.values import RECIPE, as_value, checked, kinds_of_settings

TUNABLE = (
    "optimizer",
    "view_size",
    "least_side",
    "keep_statistics",
    "output_stride",
    "momentum",
    "beta2",
    "weight_decay",
    "decay_growth",
    "warmup",
    "clip",
    "clip_each",
    "monitor_points",
    "monitor_pictures",
    "channels_last",
)
FOUND = (
    "before",
    "searched",
    "world",
    "pixels",
    "pictures",
    "listing",
    "data",
    "use_all",
    "columns",
)  # not a config's to say
COUNTED = "count"  # the setting of a method that keeps a number for each picture
DERIVED = ("steps", "settings")  # from the length; compared one by one
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
    workers: int = 1
    on_collapse: str | None = None
    keep: str | None = None

    @property
    def named_views(self) -> str | None:
        """The view recipe that is asked for by name."""
        return None if self.views == SEARCH else self.views


def sorted_settings(kind: type[Method], method: str, asked: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` entries: the method's own settings and loose recipe entries, values read as YAML."""
    known, kinds, own, loose = methods.settings(kind), kinds_of_settings(kind), {}, {}
    for name, text in asked.items():
        value = as_value(name, text)
        if name in known:
            own[name] = checked(name, value, kinds.get(name, object))
        elif name in TUNABLE:
            loose[name] = checked(name, value, RECIPE[name])
        else:
            raise RecipeError(f"method {method!r}: {unknown('setting', name, [*known, *TUNABLE])}")
    return own, loose


def configured(request: Request) -> dict[str, Any]:
    """The entries of `--config` that count here: what follows from pictures, ranks and flags is found anew."""
    entries = read_config(Path(request.config)) if request.config else {}
    for name in FOUND:
        entries.pop(name, None)
    if isinstance(own := entries.get("settings"), dict):
        own.pop(COUNTED, None)
    begun = request.encoder or request.weights or request.pretrained
    fitting = {  # to what the config has, not to what is asked
        "view_size": request.size,
        "least_side": request.size or entries.get("least_side") is None,  # or else none of its pictures was large
        "micro_batch": request.batch,
        "lr": request.batch,
        "keep_statistics": begun,
        "output_stride": begun or request.size,
    }
    for name, anew in fitting.items():
        if anew:
            entries.pop(name, None)
    return {name: checked(name, value, RECIPE[name]) for name, value in entries.items()}


def parse_length(text: str, flag: str = "--for") -> tuple[float, str]:
    """(number, unit) of 10m, 2000steps, 30epochs, 500kimages; RecipeError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M)?(m|min|h|s|steps?|epochs?|images?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise RecipeError(f"{flag} {text!r} is not a length; write 10m, 2h, 2000steps, 30epochs or 500kimages")
    number = float(match[1]) * {None: 1, "k": 1e3, "M": 1e6}[match[2]]
    if match[3] in MINUTES:
        return number * MINUTES[match[3]], "minutes"
    return number, match[3].rstrip("s") + "s"


def in_steps(number: float, unit: str, *, epoch: float, batch: int, second: float) -> float:
    """Steps that a length comes to, where an epoch has `epoch` of them and one takes `second` (asked for minutes)."""
    if unit == "minutes":
        return 60 * number / second
    return {"steps": number, "epochs": number * epoch, "images": number / batch}[unit]


def contradiction(request: Request, recipe: Recipe) -> str | None:
    """One sentence when what is asked explicitly differs from the recipe of the run that is to go on."""
    names = ["method", "size", "batch", "micro_batch", "length", "lr", "seed", "threads", "precision"]
    names += ["on_collapse", "keep"]
    asked = {name: getattr(request, name) for name in names}
    asked |= {"pretrained": request.pretrained or None, "use_all": request.use_all or None}
    asked["weights"] = str(Path(request.weights).resolve()) if request.weights else None
    asked["columns"] = request.columns if request.columns != Columns() else None
    if request.encoder and (weights := weights_of_run(request.encoder)):
        asked["weights"] = weights
    elif request.encoder and (families.known(request.encoder) or not Path(request.encoder).exists()):
        asked["encoder"] = request.encoder
    wanted = {name: as_value(name, text) for name, text in request.settings.items()}
    if request.views == SEARCH and recipe.searched is None:
        return f"views was {recipe.settings.get('augmentation')!r} and is now {SEARCH!r}"
    if request.named_views:
        wanted["augmentation"] = request.named_views
    entries = configured(request)
    asked |= {name: value for name, value in entries.items() if asked.get(name) is None and name not in DERIVED}
    asked = {name: value for name, value in asked.items() if name not in {"device", *wanted}}  # it may go elsewhere
    wanted = {**(entries.get("settings") or {}), **wanted}
    if request.views != SEARCH and recipe.searched == {} and wanted.get("augmentation"):  # it has not ended
        return f"views are still being searched for, and now {wanted['augmentation']!r} is named"
    for name, value in asked.items():
        have = getattr(recipe, name)
        if value is not None and value != have:
            return f"{name} was {have!r} and is now {value!r}"
    begun = recipe.settings
    if request.views == SEARCH and recipe.searched:  # around those that were tried first
        begun = {**begun, "augmentation": next(iter(recipe.searched))}
    for name, value in wanted.items():
        have = begun.get(name, getattr(recipe, name, None))
        if have != value and not (value is None and name not in request.settings):
            return f"{name} was {have!r} and is now {value!r}"
    return None


def weights_of_run(name: str) -> str | None:
    """The weights file of the run that `--encoder` names, of an unfinished one its newest checkpoint's; None when
    it names no run that has begun."""
    run, folder = Path(name), Path(name) / "encoder"
    if (folder / "config.json").is_file():
        return str((folder / "model.safetensors").resolve())
    newest = checkpoints.latest(run / "checkpoints") if (run / "recipe.yaml").is_file() else None
    return str((newest / "method.safetensors").resolve()) if newest else None
