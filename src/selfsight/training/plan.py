"""Every value that a run needs, decided once, each with its reason: flag > --set > --config > method > automatic."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from selfsight import methods
from selfsight.data import ranges
from selfsight.data.manifest import Manifest
from selfsight.errors import DataError, MissingError, RecipeError, unknown
from selfsight.methods.base import Facts, Method, Training
from selfsight.nn import encoder as encoders
from selfsight.recipe import Columns, Recipe, read_config
from selfsight.training import autotune
from selfsight.training.build import check_settings

SIZES = (32, 64, 96, 128, 160, 224)
CPU_SIZE, CPU_BATCH, CPU_LENGTH = 64, 128, "10m"  # what a laptop does in the time of a coffee
LEAST_BATCHES = 4  # in an epoch, where the batch is automatic
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
MONITOR_SHARE = 0.02  # of the pictures that training computes


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


@dataclass
class Plan:
    """Values that are settled so far, with reasons."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def settle(self, name: str, asked: Any, automatic: Any, reason: str) -> Any:
        """The asked value, or else the configured one, or else the automatic one with its reason."""
        if asked is not None:
            self.values[name], self.reasons[name] = asked, "as asked"
        elif name not in self.values:
            self.values[name], self.reasons[name] = automatic, reason
        return self.values[name]


def plan(request: Request, manifest: Manifest) -> tuple[Recipe, dict[str, str]]:
    """The recipe and its reasons. Raises RecipeError, DataError or MissingError before anything is written."""
    made = Plan()
    configured = read_config(Path(request.config)) if request.config else {}
    for name, value in configured.items():
        made.values[name], made.reasons[name] = value, "from --config"
    kind = methods.get(made.settle("method", request.method, "simclr", "the method to start with"))
    own, loose = sorted_settings(kind, made.values["method"], request.settings)
    for name, value in loose.items():
        made.values[name], made.reasons[name] = value, "as asked"
    machine(made, request)
    data(made, request, manifest)
    start(made, request, manifest)
    optimization(made, request, kind.defaults(made.values["size"]))
    method_settings(made, request, kind, own, configured.get("settings") or {}, manifest)
    return length(made, request, manifest, kind)


def sorted_settings(kind: type[Method], method: str, asked: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` entries: the method's own settings and loose recipe entries, values read as YAML."""
    known, own, loose = methods.settings(kind), {}, {}
    for name, text in asked.items():
        value = yaml.safe_load(text) if isinstance(text, str) else text
        if name in known:
            own[name] = value
        elif name in TUNABLE:
            loose[name] = value
        else:
            raise RecipeError(f"method {method!r}: {unknown('setting', name, [*known, *TUNABLE])}")
    return own, loose


def machine(made: Plan, request: Request) -> None:
    """Device, threads, ranks."""
    gpu = torch.cuda.is_available()
    device = made.settle(
        "device", request.device, "cuda" if gpu else "cpu", "a GPU was found" if gpu else "no GPU was found"
    )
    if device.startswith("cuda") and not gpu:
        raise MissingError(f"--device {device} asks for a GPU and torch sees none; use --device cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    made.settle("threads", request.threads, cores, "one for each core of this machine")
    made.settle("world", None, int(os.environ.get("WORLD_SIZE", "1")), "as torchrun started it, else one process")
    made.settle("seed", request.seed, 0, "the usual")


def data(made: Plan, request: Request, manifest: Manifest) -> None:
    """View size, pixel format and how many pictures there are to learn from."""
    rows = manifest.train_rows()
    if len(rows) == 0:
        raise DataError(
            "no picture is left to train on: every readable one is in the test split; check the split column or use --use-all"
        )
    made.values |= {"data": list(request.data), "use_all": request.use_all, "columns": request.columns}
    made.values |= {"pictures": len(rows), "listing": manifest.digest()}
    side = int(np.median(np.minimum(manifest.widths[rows], manifest.heights[rows])))
    cap = SIZES[-1] if made.values["device"].startswith("cuda") else CPU_SIZE
    fitting = [size for size in SIZES if size <= min(side, cap)] or [SIZES[0]]
    why = f"pictures have a short side of {side} px" + (
        f"; {cap} px keeps a CPU quick" if side > cap == CPU_SIZE else ""
    )
    size = made.settle("size", request.size, fitting[-1], why)
    if not 8 <= size <= 1024:
        raise RecipeError(f"--size {size} is not between 8 and 1024 pixels")
    if "pixels" not in made.values:
        made.values["pixels"] = asdict(ranges.measure(manifest, rows))
        kinds = made.values["pixels"]
        made.reasons["pixels"] = f"{kinds['channels']} channels of {kinds['dtype']}, measured on the training pictures"


def start(made: Plan, request: Request, manifest: Manifest) -> None:
    """Encoder and the weights it starts from; `--encoder RUN` is another run's encoder."""
    name, weights = request.encoder, request.weights
    if name and (Path(name) / "encoder" / "config.json").is_file():
        folder = Path(name) / "encoder"
        name, weights = encoders.Encoder.load(folder).name, str((folder / "model.safetensors").resolve())
    elif name and (Path(name).exists() or "/" in name):
        raise RecipeError(f"--encoder {name!r} is neither a finished run nor the name of a timm architecture")
    encoder = made.settle("encoder", name, "resnet18", "quick on any machine and hard to beat on small sets")
    if not encoders.known(encoder):
        raise RecipeError(encoders.unknown_encoder(encoder))
    made.settle("weights", weights and str(Path(weights).resolve()), None, "random weights")
    made.settle("pretrained", request.pretrained or None, False, "random weights")
    mean, std = encoders.usual_scale(
        encoder, made.values["pixels"]["channels"], made.values["pretrained"] or bool(weights)
    )
    made.values["pixels"] = {**made.values["pixels"], "mean": list(mean), "std": list(std)}


def optimization(made: Plan, request: Request, training: Training) -> None:
    """Batch, rate and the rest of the published recipe."""
    pictures, world = made.values["pictures"], made.values["world"]
    on_cpu = made.values["device"] == "cpu"
    cap = min(training.batch, CPU_BATCH) if on_cpu else training.batch
    batch = max(2, min(cap, 2 ** max(1, (pictures // LEAST_BATCHES).bit_length() - 1)))
    why = f"published {training.batch}" + (f"; {CPU_BATCH} at most on a CPU" if cap < training.batch else "")
    why += f"; {pictures} pictures leave {LEAST_BATCHES} batches an epoch" if batch < cap else ""
    batch = made.settle("batch", request.batch, batch, why)
    if batch < 2 or batch > pictures:
        raise RecipeError(
            f"a batch of {batch} does not fit {pictures} training pictures; use --batch between 2 and {pictures}"
        )
    if batch % world:
        raise RecipeError(f"a batch of {batch} cannot be shared evenly by {world} ranks; use a multiple of {world}")
    made.settle("micro_batch", request.micro_batch, batch // world, "the whole batch at once")
    rate = training.lr * batch / training.lr_batch
    made.settle("lr", request.lr, rate, f"published {training.lr:g} x {batch} / {training.lr_batch}")
    for name in ("optimizer", "momentum", "weight_decay", "clip"):
        made.settle(name, None, getattr(training, name), "as published")


def method_settings(
    made: Plan,
    request: Request,
    kind: type[Method],
    own: dict[str, Any],
    configured: Mapping[str, Any],
    manifest: Manifest,
) -> None:
    """The method's settings: its own defaults, and what it resolves from the facts."""
    settings = {name: p.default for name, p in methods.settings(kind).items()} | dict(configured) | own
    if request.views is not None:
        settings["augmentation"] = request.views
    check_settings(kind, made.values["method"], settings)
    facts = Facts(
        count=made.values["pictures"],
        batch=made.values["batch"],
        size=made.values["size"],
        channels=made.values["pixels"]["channels"],
        classes=len(manifest.classes),
    )
    found = kind.resolve(settings, facts)
    made.values["settings"] = settings | {
        name: value for name, (value, _) in found.items() if settings.get(name) is None
    }
    made.reasons["settings"] = "; ".join(
        f"{name}: {why}" for name, (_, why) in found.items() if settings.get(name) is None
    )


def length(made: Plan, request: Request, manifest: Manifest, kind: type[Method]) -> tuple[Recipe, dict[str, str]]:
    """Steps, from any way to say how long; where time is meant, from the measured speed."""
    training, values = kind.defaults(made.values["size"]), made.values
    cpu = values["device"] == "cpu"
    asked = made.settle(
        "length",
        request.length,
        CPU_LENGTH if cpu else f"{training.epochs}epochs",
        "a first look; give --for to train longer" if cpu else "as published",
    )
    number, unit = parse_length(asked)
    draft = {
        **values,
        "steps": 1,
        "warmup": 0.0,
        "precision": request.precision or "fp32",
        "channels_last": values.get("channels_last", False),
    }
    before = draft.pop("before", None)
    if request.precision is None or unit == "minutes":
        speed = autotune.measure(Recipe(**draft), manifest, fixed=request.precision)
        made.reasons["speed"] = speed.reason
        made.settle("channels_last", None, speed.channels_last, speed.reason)
        made.settle("precision", request.precision, speed.precision, speed.reason)
        seconds = speed.seconds
    else:
        seconds = 0.0
        made.settle("channels_last", None, False, "torch's usual layout")
        made.settle("precision", request.precision, "fp32", "exact")
    epoch = values["pictures"] // values["batch"]
    to_steps = {
        "steps": 1.0,
        "epochs": epoch,
        "images": 1 / values["batch"],
        "minutes": 60 / seconds if seconds else 0.0,
    }
    made.settle(
        "steps",
        None,
        max(1, round(number * to_steps[unit])),
        f"{asked} at {epoch} steps an epoch" + (f" and {seconds:.2f} s a step" if seconds else ""),
    )
    if seconds:
        made.reasons["eta"] = f"{made.values['steps'] * seconds / 60:.1f} minutes"
    warm = min(0.5, training.warmup * epoch / values["steps"])
    made.settle("warmup", None, warm, f"{training.warmup:g} epochs as published")
    monitor(made, values)
    return Recipe(
        **{**values, "before": before_recipe(values, kind) if kind.before and before is None else before}
    ), made.reasons


def monitor(made: Plan, values: dict[str, Any]) -> None:
    """How often and on how many pictures to look, so that looking costs about 2 % of training."""
    budget = MONITOR_SHARE * values["steps"] * values["batch"] * 6  # a step computes two views, forward and backward
    count = int(min(2000, values["pictures"], max(200, budget / 10)))
    made.settle("monitor_pictures", None, count, "about 2 % of the time goes into looking")
    made.settle(
        "monitor_points",
        None,
        int(min(30, values["steps"], max(4, budget / count))),
        "about 2 % of the time goes into looking",
    )


def before_recipe(values: dict[str, Any], kind: type[Method]) -> Recipe:
    """The recipe of the method that comes first: the same pictures, half as many steps, its own settings."""
    assert kind.before is not None
    first = methods.get(kind.before)
    training = first.defaults(values["size"])
    settings = {name: p.default for name, p in methods.settings(first).items()}
    facts = Facts(values["pictures"], values["batch"], values["size"], values["pixels"]["channels"], 0)
    settings |= {name: value for name, (value, _) in first.resolve(settings, facts).items() if settings[name] is None}
    own = {name: getattr(training, name) for name in ("optimizer", "momentum", "weight_decay", "clip")}
    rate = training.lr * values["batch"] / training.lr_batch
    return replace(
        Recipe(**{**values, "before": None}),
        method=kind.before,
        settings=settings,
        lr=rate,
        steps=max(1, values["steps"] // 2),
        **own,
    )


def parse_length(text: str) -> tuple[float, str]:
    """(number, unit) of 10m, 2000steps, 30epochs, 500kimages; RecipeError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M)?(m|min|h|s|steps?|epochs?|images?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise RecipeError(f"--for {text!r} is not a length; write 10m, 2h, 2000steps, 30epochs or 500kimages")
    number = float(match[1]) * {None: 1, "k": 1e3, "M": 1e6}[match[2]]
    minutes = {"m": 1.0, "min": 1.0, "h": 60.0, "s": 1 / 60}
    if match[3] in minutes:
        return number * minutes[match[3]], "minutes"
    return number, match[3].rstrip("s") + "s"


def contradiction(request: Request, recipe: Recipe) -> str | None:
    """One sentence when what is asked explicitly differs from the recipe of the run that is to go on."""
    names = ("method", "size", "batch", "micro_batch", "length", "lr", "seed", "threads", "precision", "device")
    asked = {name: getattr(request, name) for name in names}
    if request.encoder and not Path(request.encoder).exists():
        asked["encoder"] = request.encoder
    for name, value in asked.items():
        have = getattr(recipe, name)
        if value is not None and value != have:
            return f"{name} was {have!r} and is now {value!r}"
    wanted = {name: yaml.safe_load(text) if isinstance(text, str) else text for name, text in request.settings.items()}
    if request.views:
        wanted["augmentation"] = request.views
    for name, value in wanted.items():
        have = recipe.settings.get(name, getattr(recipe, name, None))
        if have != value:
            return f"{name} was {have!r} and is now {value!r}"
    return None
