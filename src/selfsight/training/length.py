"""How long a run is: steps from any way to say it, for the method and for what is trained before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfsight import methods
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError
from selfsight.methods.base import OPTIMIZATION, Facts, Method, Training
from selfsight.recipe import Recipe
from selfsight.training import autotune
from selfsight.training.autotune import Speed
from selfsight.training.monitor import PAIRED
from selfsight.training.request import Request, in_steps, parse_length
from selfsight.training.values import Plan

__all__ = ["facts_of", "length"]

CPU_LENGTH = "10m"  # what a laptop does in the time of a coffee
MONITOR_SHARE = 0.01  # of the pictures that training computes
MONITOR_ROOM = 2**29  # bytes of its views
LOOKS, FEWEST_LOOKS, FEWEST_SHOWN = 30, 4, 200  # of the monitor, and the pictures of a look
BEFORE_SHARE = 1 / 3  # of the time, for what is trained before a method; of the steps it has half as many


def length(
    made: Plan, request: Request, manifest: Manifest, kind: type[Method], training: Training
) -> tuple[Recipe, dict[str, str]]:
    """Steps, from any way to say how long; where time is meant, from the measured speed, and for the whole run."""
    values, on_cpu = made.values, made.values["device"] == "cpu"
    usual = CPU_LENGTH if on_cpu else f"{training.epochs}epochs"
    why = "a first look; give --for to train longer" if on_cpu else "as published"
    number, unit = parse_length(made.settle("length", request.length, usual, why))
    warm = values.get("warmup")
    values |= {"steps": 0 if request.length else values.get("steps", 0), "warmup": warm or 0.0}
    first = kind.first(values["settings"])
    if first:
        values["before"] = before_recipe(values | {"precision": "fp32", "channels_last": False}, first, manifest)
    parts = values["micro_batch"] < values["batch"] // values["world"]  # to save memory, so it has to be known
    speeds = speed(made, request, manifest, needed=unit == "minutes" or parts)
    seconds = speeds[0].seconds if speeds else 0.0
    epoch = values["pictures"] // values["batch"]
    own = number * (1 - BEFORE_SHARE) if first and unit == "minutes" else number  # the rest is for what comes before
    if not values["steps"]:
        values["steps"] = max(1, round(in_steps(own, unit, epoch=epoch, batch=values["batch"], second=seconds)))
        made.reasons["steps"] = f"{epoch} an epoch" + (f", {seconds:.2f} s each" if seconds else "")
    if warm is None:
        values["warmup"], made.reasons["warmup"] = warm_up(training, epoch, values["steps"])
    monitor(made, values, manifest)
    if first:
        whole = 60 * number * BEFORE_SHARE if unit == "minutes" else 0.0
        values["before"] = before_recipe(values, first, manifest, speeds[1:], whole)
    recipe = Recipe(**values)
    tell(made, recipe, speeds)
    return recipe, made.reasons


def warm_up(training: Training, epoch: int, steps: int) -> tuple[float, str]:
    """Which share of the steps it is, with the reason: the published epochs, but no more than their published share."""
    epochs, share = training.warmup * epoch / steps, training.warmup / training.epochs
    if epochs <= share:
        return epochs, f"{training.warmup:g} epochs, as {training.source}"
    return share, f"the share of {training.warmup:g} in {training.epochs} epochs, as {training.source}"


def speed(made: Plan, request: Request, manifest: Manifest, *, needed: bool) -> list[Speed]:
    """Settle precision and layout, by measurement where they are open; how fast the method is, and each stage before.

    Empty where nothing had to be measured.
    """
    values = made.values
    if request.precision is not None and not needed:
        made.settle("precision", request.precision, None, "")
        made.settle("channels_last", None, False, "torch's usual layout")
        return []
    draft: dict[str, Any] = {"precision": "fp32", "channels_last": False} | values
    fixed = (request.precision or values.get("precision"), values.get("channels_last"))
    found = autotune.measure(Recipe(**draft), manifest, *fixed, workers=request.workers)
    made.settle("precision", request.precision, found.precision, found.reason)
    made.settle("channels_last", None, found.channels_last, found.reason)
    fixed = (values["precision"], values["channels_last"])
    stages = chain(Recipe(**draft))[1:]
    return [found, *(autotune.measure(stage, manifest, *fixed, workers=request.workers) for stage in stages)]


def chain(recipe: Recipe) -> list[Recipe]:
    """The recipe, that of the method before it, and so on."""
    return [recipe, *(chain(recipe.before) if recipe.before else [])]


def tell(made: Plan, recipe: Recipe, speeds: Sequence[Speed]) -> None:
    """What is known of the run as a whole: its time and memory, and what part of it each stage has."""
    stages = chain(recipe)
    seconds = [stage.steps * pace.seconds for stage, pace in zip(stages, speeds, strict=False)]
    for number, stage in enumerate(stages[1:], 1):
        part = "half as many steps"
        if speeds:
            part = f"{seconds[number] / sum(seconds):.0%} of the time, {speeds[number].seconds:.2f} s a step"
        made.reasons[f"before.{stage.method}"] = part
    if recipe.before:
        made.reasons["before"] = made.reasons[f"before.{recipe.before.method}"]
    if speeds:
        made.reasons["memory"] = f"{max(pace.memory for pace in speeds) / 1e9:.1f} GB"
        made.reasons["eta"] = f"{sum(seconds) / 60:.1f} minutes"


def monitor(made: Plan, values: dict[str, Any], manifest: Manifest) -> None:
    """How often and on how many pictures to look, so that looking costs about 1 % of training: 30 times if it can be.

    Without labels two views of each picture are drawn as well, with labels of a few.
    """
    budget = MONITOR_SHARE * values["steps"] * values["batch"] * 6  # a step computes two views, forward and backward
    classes = sum(count > 0 for count in facts_of(values, manifest).per_class)
    times, drawn = (1, 2 * PAIRED) if classes > 1 else (3, 0)
    points = int(min(LOOKS, values["steps"], max(FEWEST_LOOKS, budget / (times * FEWEST_SHOWN + drawn))))
    view = values["size"] ** 2 * values["pixels"]["channels"] * np.dtype(values["pixels"]["dtype"]).itemsize
    most = min(2000, values["pictures"], max(PAIRED, MONITOR_ROOM // (times * view)))
    count = int(min(most, max(FEWEST_SHOWN, (budget / points - drawn) / times)))
    made.settle("monitor_pictures", None, count, "about 1 % of the time goes into looking")
    made.settle("monitor_points", None, points, "about 1 % of the time goes into looking")


def before_recipe(
    values: dict[str, Any], name: str, manifest: Manifest, speeds: Sequence[Speed] = (), seconds: float = 0.0
) -> Recipe:
    """The recipe of the method that comes first: the same pictures, its own settings, optimizer and warm-up.

    It has `seconds` for itself and what comes before it, at the measured speeds, or else half as many steps.
    """
    kind, learns = methods.get(name), methods.get(values["method"]).kind
    if kind.kind != learns:
        told = f"{values['method']} learns from {learns}, and {name!r}, to be trained before it, from {kind.kind}"
        raise RecipeError(f"{told}; name one that learns from {learns}, see selfsight methods")
    training = kind.usual(values["size"], values["device"])
    handed = methods.get(values["method"]).first_settings(values["settings"])
    settings = {key: p.default for key, p in methods.settings(kind).items()} | handed
    found = kind.resolve(settings, facts_of(values, manifest))
    settings |= {key: value for key, (value, _) in found.items() if settings[key] is None}
    first = kind.first(settings)
    steps = values["steps"] // 2
    if seconds:
        steps = round(seconds * (1 - BEFORE_SHARE if first else 1) / speeds[0].seconds)
    own = {key: getattr(training, key) for key in OPTIMIZATION}
    own |= {"lr": training.rate(values["batch"])[0], "steps": max(1, steps), "settings": settings}
    own["keep"] = "last"  # every rank builds on it, and one rank knows the best
    own["warmup"], _ = warm_up(training, values["pictures"] // values["batch"], own["steps"])
    its = values | own | {"method": name, "before": None}
    before = before_recipe(its, first, manifest, speeds[1:], seconds * BEFORE_SHARE) if first else None
    return Recipe(**its | {"before": before})


def facts_of(values: dict[str, Any], manifest: Manifest) -> Facts:
    """What a method decides its automatic settings by."""
    labels = manifest.labels[manifest.train_rows()]
    return Facts(
        count=values["pictures"],
        batch=values["batch"],
        size=values["view_size"] or values["size"],
        channels=values["pixels"]["channels"],
        classes=len(manifest.classes),
        micro_batch=values["micro_batch"],
        per_class=tuple(np.bincount(labels[labels >= 0], minlength=len(manifest.classes)).tolist()),
    )
