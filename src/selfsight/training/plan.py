"""Every value that a run needs, decided once, each with its reason: flag > --set > --config > method > automatic."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsight import methods
from selfsight.data import canvases, ranges
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.errors import DataError, RecipeError
from selfsight.methods.base import OPTIMIZATION, QUICK_VIEW, Method, Training
from selfsight.nn import architectures, families
from selfsight.nn.statistics import normalising
from selfsight.recipe import Recipe
from selfsight.training import autotune
from selfsight.training.build import accelerator_of, check_settings, started
from selfsight.training.length import facts_of, length
from selfsight.training.request import Request, configured, sorted_settings, weights_of_run
from selfsight.training.values import Plan, checked, kinds_of_settings

SIZES = (32, 64, 96, 128, 160, 224)
CPU_SIZE, CPU_BATCH = 64, 128  # what keeps a laptop quick
LEAST_BATCHES = 8  # in an epoch, where the batch is automatic: a queue of past keys needs as many
GIVEN = ("as asked", "from --config")
GENTLER = 0.3  # of the rate, where weights are given: docs/decisions.md
KEPT = "measured: better than those of small batches of views"
TWICE, SMALLEST_KEPT = 2, 64  # a picture keeps twice the side of a view, and what tiles of small views are cut from
USUAL = "simclr"  # where nobody names a method


def plan(request: Request, manifest: Manifest) -> tuple[Recipe, dict[str, str]]:
    """The recipe and its reasons. Raises RecipeError, DataError or MissingError before anything is written."""
    made = Plan()
    entries = configured(request)
    for name, value in entries.items():
        made.values[name], made.reasons[name] = value, "from --config"
    kind = methods.get(made.settle("method", request.method, USUAL, "the method to start with"))
    own, loose = sorted_settings(kind, made.values["method"], request.settings)
    for name, value in loose.items():
        made.values[name], made.reasons[name] = value, "as asked"
    machine(made, request)
    data(made, request, manifest)
    training = training_for(made, request, kind)
    start(made, request, training)
    if training.source == "measured" and made.values["encoder"] != training.encoder:
        training = replace(training, source=f"measured with {training.encoder}")
    optimization(made, request, training)
    views(made, kind, training)
    if manifest.kind == "pictures":
        decoded(made, manifest)
    made.settle("on_collapse", request.on_collapse, "warn", "training goes on, and the guard says what it found")
    made.settle("keep", request.keep, "last", "the encoder as it is at the end")
    method_settings(made, request, kind, own, entries.get("settings") or {}, manifest)
    recipe, reasons = length(made, request, manifest, kind, training)
    autotune.prove(recipe)
    return recipe, reasons


def method_for(request: Request) -> type[Method]:
    """The method that is asked for, before anything else is known: it says what kind of sample is looked for."""
    return methods.get(request.method or configured(request).get("method") or USUAL)


def machine(made: Plan, request: Request) -> None:
    """Device, threads, ranks."""
    gpu = torch.cuda.is_available()
    device = made.settle(
        "device", request.device, "cuda" if gpu else "cpu", "a GPU was found" if gpu else "no GPU was found"
    )
    accelerator_of(device)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    shared = f", shared by {here} ranks" if here > 1 else ""
    made.settle("threads", request.threads, own_cores(), f"one for each core of this machine{shared}")
    made.settle("world", None, int(os.environ.get("WORLD_SIZE", "1")), "one process, unless torchrun starts more")
    seed = made.settle("seed", request.seed, 0, "the usual")
    if not 0 <= seed < 2**63:
        raise RecipeError(f"--seed {seed} is not a whole number from 0 on")


def own_cores() -> int:
    """The cores of this machine that one of its ranks has to itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def data(made: Plan, request: Request, manifest: Manifest) -> None:
    """View size, pixel format and how many pictures there are to learn from."""
    rows = manifest.train_rows()
    if len(rows) == 0:
        raise DataError(
            "no picture is left to train on: every readable one is in the test split; check the split column"
        )
    made.values |= {"data": list(request.data), "use_all": request.use_all, "columns": request.columns}
    made.values |= {"pictures": len(rows), "listing": manifest.digest()}
    made.reasons["pictures"] = "all that can be read" if request.use_all else "all that can be read but the test part"
    fixed = KINDS[manifest.kind].size
    size = made.settle("size", request.size, *fitting_size(manifest, made.values["device"]))
    if not 8 <= size <= 1024:
        raise RecipeError(f"--size {size} is not between 8 and 1024{'' if fixed else ' pixels'}")
    told = [f"measured on the training {manifest.kind}"]
    made.values["pixels"] = asdict(ranges.measure(manifest, rows, say=told.append))
    made.reasons["pixels"] = "; ".join(told)


def fitting_size(manifest: Manifest, device: str) -> tuple[int, str]:
    """The side of a view that the training pictures fill, or how many words stand for a document, and why."""
    if fixed := KINDS[manifest.kind].size:
        return fixed, "the first words stand for a document"
    rows = manifest.train_rows()
    side = int(np.median(np.minimum(manifest.widths[rows], manifest.heights[rows])))
    cap = SIZES[-1] if device.startswith("cuda") else CPU_SIZE
    fitting = [size for size in SIZES if size <= min(side, cap)] or [SIZES[0]]
    why = f"pictures have a short side of {side} px"
    return fitting[-1], why + (f"; {cap} px keeps a CPU quick" if side > cap == CPU_SIZE else "")


def training_for(made: Plan, request: Request, kind: type[Method]) -> Training:
    """The usual recipe, or the published one where only that has the optimizer that is asked for.

    Raises RecipeError where neither has it and no rate is given: a rate is for one optimizer.
    """
    usual = kind.usual(made.values["size"], made.values["device"])
    asked = made.values.get("optimizer", usual.optimizer)
    for training in (usual, kind.defaults(made.values["size"])):
        if training.optimizer == asked:
            return training
    if request.lr is None and "lr" not in made.values:
        raise RecipeError(
            f"the {usual.source} rate of {made.values['method']} is for {usual.optimizer}, not for {asked}; give one "
            "for it with --lr"
        )
    return usual


def start(made: Plan, request: Request, training: Training) -> None:
    """Encoder and the weights it starts from; `--encoder RUN` is another run's encoder."""
    name, weights = request.encoder, request.weights
    if name and (found := weights_of_run(name)):
        name, weights = families.load(architectures.beside(Path(found))).name, found
    elif name and not families.known(name) and (Path(name).exists() or "/" in name):
        raise RecipeError(f"--encoder {name!r} is neither a run that has begun nor the name of a timm architecture")
    encoder = made.settle("encoder", name, training.encoder, f"the usual for {made.values['method']}")
    if not families.known(encoder):
        raise RecipeError(architectures.unknown_encoder(encoder))
    if made.reasons["size"] not in GIVEN and encoder == training.encoder and training.view_share != 1:
        views = made.values["size"]
        made.values["size"] = training.whole(views)
        made.reasons["size"] += f"; views of {views} px, whole pictures at {made.values['size']} px"
    learns, encodes = methods.get(made.values["method"]).kind, families.of(encoder).kind
    if learns != encodes:
        raise RecipeError(
            f"{made.values['method']} learns from {learns} and {encoder!r} encodes {encodes}; use --encoder "
            f"{training.encoder}"
        )
    weights = made.settle("weights", weights and str(Path(weights).resolve()), None, "random weights")
    published = made.settle("pretrained", request.pretrained or None, False, "random weights")
    file, channels = Path(weights) if weights else None, made.values["pixels"]["channels"]
    mean, std = families.usual_scale(encoder, channels, published or bool(file), file)
    made.values["pixels"] = {**made.values["pixels"], "mean": list(mean), "std": list(std)}
    given, stride = (published, weights, made.values["seed"]), strided(made, encoder, bool(published or weights))
    built, told = started(encoder, made.values["size"], made.values["pixels"], *given, stride)
    built.check()
    if told:
        made.reasons["weights"] = f"{made.reasons['weights']}; {told}"
    came = bool(published or weights) and bool(normalising(built))
    kept = made.settle("keep_statistics", None, came, KEPT if came else "there are none that came with weights")
    if kept and not came:
        raise RecipeError("keep_statistics is for batch norms that came with weights, and there are none; leave it out")
    if normalising(built) and not kept:
        made.reasons["batch norm"] = "statistics are those of each micro-batch on each rank, not of the whole batch"


def strided(made: Plan, encoder: str, given: bool) -> int | None:
    """The stride of the last map."""
    measured = made.values["device"] == "cpu" and not given  # elsewhere nobody knows
    usual = architectures.stride_for(encoder, made.values["size"]) if measured else None
    why = f"its own would leave one or two positions of {made.values['size']} px" if usual else "the usual"
    stride: int | None = made.settle("output_stride", None, usual, why)
    if stride is not None:
        architectures.check_stride(encoder, stride)
    return stride


def views(made: Plan, kind: type[Method], training: Training) -> None:
    """The side of the views that are trained on."""
    size, usual = made.values["size"], None
    if training.view_share != 1 and made.values["encoder"] == training.encoder:
        usual = training.side(size)
    why = f"{training.source}: things look as large in crops of {usual} px as in whole pictures of {size} px"
    side = made.settle("view_size", None, usual, why if usual else "as large as the pictures")
    if side is not None and (kind.defaults(QUICK_VIEW).quick or 1.0) == 1.0:  # of no other is it known to do good
        raise RecipeError(f"the views of {made.values['method']} are as large as its pictures; leave view_size out")


def decoded(made: Plan, manifest: Manifest) -> None:
    """How far large pictures are halved before views are cut out of them, and where they are kept."""
    rows, form = manifest.train_rows(), ranges.kept(made.values["pixels"])
    least, sides = TWICE * max(made.values["size"], SMALLEST_KEPT), np.minimum(manifest.heights, manifest.widths)[rows]
    large = int((sides >= 2 * least).sum())
    why = f"{large} pictures are larger; a view of {made.values['size']} px of a quarter of what is kept loses nothing"
    found = made.settle("least_side", None, *((least, why) if large else (None, "no picture is so large")))
    made.reasons["canvases"] = canvases.planned(manifest, form, found)


def optimization(made: Plan, request: Request, training: Training) -> None:
    """Batch, rate and the rest of the recipe."""
    pictures, world = made.values["pictures"], made.values["world"]
    said = KINDS[methods.get(made.values["method"]).kind].said
    on_cpu = made.values["device"] == "cpu"
    cap = min(training.batch, CPU_BATCH) if on_cpu else training.batch
    batch = max(2, min(cap, 2 ** max(1, (pictures // LEAST_BATCHES).bit_length() - 1)))
    why = f"{training.source} {training.batch}" + (f"; {CPU_BATCH} at most on a CPU" if cap < training.batch else "")
    why += said(f"; {pictures} pictures leave {LEAST_BATCHES} batches an epoch") if batch < cap else ""
    batch = made.settle("batch", request.batch, batch, why)
    if pictures < 2:
        raise DataError(said("there is only one training picture, and it has nothing to be told from; add pictures"))
    if batch < 2 or batch > pictures:
        fit = f"a batch of {batch} does not fit {pictures} training pictures; use --batch between 2 and {pictures}"
        raise RecipeError(said(fit))
    check_shared(batch, made.values["device"], world)
    equal_parts(
        made.settle("micro_batch", request.micro_batch, batch // world, "the whole batch at once"), batch // world
    )
    rate, why = training.rate(batch)
    if training.source.startswith("measured") and (made.values["weights"] or made.values["pretrained"]):
        rate, why = GENTLER * rate, f"{why}; {GENTLER:g} of it, since weights are given"
    made.settle("lr", request.lr, rate, why)
    for name in OPTIMIZATION:
        made.settle(name, None, getattr(training, name), f"as {training.source}")


def check_shared(batch: int, device: str, world: int) -> None:
    """RecipeError unless so many ranks can take a batch between them."""
    if world > 1 and device not in ("cpu", "cuda"):
        raise RecipeError(f"--device {device} is one device and there are {world} ranks; use --device cpu or cuda")
    if batch % world:
        raise RecipeError(f"a batch of {batch} cannot be shared evenly by {world} ranks; use a multiple of {world}")


def equal_parts(micro: int, share: int) -> None:
    """RecipeError unless micro-batches of this size make up what a rank has of a batch."""
    if micro < 1 or share % micro:
        raise RecipeError(
            f"micro-batches of {micro} do not make up the {share} pictures that a rank takes in a step; "
            f"use --micro-batch {fitting(micro, share)}"
        )


def fitting(micro: int, share: int) -> int:
    """The largest micro-batch up to this one that makes up what a rank has of a batch."""
    return next(size for size in range(max(1, min(micro, share)), 0, -1) if share % size == 0)


def method_settings(
    made: Plan,
    request: Request,
    kind: type[Method],
    own: dict[str, Any],
    told: Mapping[str, Any],
    manifest: Manifest,
) -> None:
    """The method's settings: its own defaults, and what it resolves from the facts."""
    settings = {name: p.default for name, p in methods.settings(kind).items()} | dict(told) | own
    if request.named_views is not None:
        if "augmentation" not in methods.settings(kind):
            raise RecipeError(f"{made.values['method']} has views of its own; leave --views {request.views} out")
        settings["augmentation"] = request.named_views
    check_settings(kind, made.values["method"], settings)
    kinds = kinds_of_settings(kind)
    settings = {name: checked(name, value, kinds.get(name, object)) for name, value in settings.items()}
    found = kind.resolve(settings, facts_of(made.values, manifest))
    made.values["settings"] = settings | {
        name: value for name, (value, _) in found.items() if settings.get(name) is None
    }
    views = {"augmentation"} if request.named_views is not None else set()
    for name in made.values["settings"]:
        automatic = found[name][1] if settings.get(name) is None and name in found else "the method's default"
        given = "as asked" if name in {*own, *views} else "from --config"
        made.reasons[f"settings.{name}"] = given if name in {*own, *views, *told} else automatic
