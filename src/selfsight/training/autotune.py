"""Precision and memory layout by measurement: a few bare steps of each on copies, which leave no trace."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from selfsight.data.loader import Loader
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import format_of
from selfsight.errors import RecipeError
from selfsight.methods.base import Batch, Method
from selfsight.recipe import Recipe
from selfsight.training.build import method_of, optimizer_of

TRIED = 64  # pictures in a measured step, at most
ROUNDS = 2  # after one that warms up
GAIN = 1.05  # bf16 must be this much faster to be worth its rounding


@dataclass(frozen=True)
class Speed:
    """What was chosen and how long a step of the recipe's batch takes."""

    precision: str
    channels_last: bool
    seconds: float
    memory: float  # bytes of the process at its largest, for the recipe's batch
    reason: str


def measure(
    recipe: Recipe, manifest: Manifest, fixed: str | None = None, layout: bool | None = None, workers: int = 1
) -> Speed:
    """Time bare steps, and what feeds them: in fp32 and bf16 and both layouts, or in the precision that is `fixed`."""
    torch.set_num_threads(recipe.threads)
    precisions, layouts = [fixed] if fixed else ["fp32", "bf16"], [False, True] if layout is None else [layout]
    choices = [(precision, last) for precision in precisions for last in layouts]
    rows = manifest.train_rows()[: min(TRIED, recipe.batch)]
    share = recipe.batch / len(rows)
    batch, loading = loaded(recipe, manifest, rows)
    seconds, before = {}, largest_so_far()
    for precision, last in choices:
        tried = replace(recipe, precision=precision, channels_last=last, batch=len(rows))
        seconds[precision, last] = bare_step(tried, stand_in(tried), batch) * share
    best = min(seconds, key=lambda choice: seconds[choice] * (1 if choice[0] == "bf16" else 1 / GAIN))
    told = ", ".join(f"{p}{' channels last' if c else ''} {recipe.batch / s:.0f}" for (p, c), s in seconds.items())
    told += f"; reading and views {recipe.batch / paced(0.0, loading * share, workers):.0f}"
    memory = before + (largest_so_far() - before) * recipe.micro_batch / len(rows)
    return Speed(*best, paced(seconds[best], loading * share, workers), memory, f"measured, images/s: {told}")


def paced(step: float, loading: float, workers: int) -> float:
    """Seconds of a step that is fed by `workers`: the slower of the two sets the pace; without workers they add up."""
    return max(step, loading / workers) if workers else step + loading


def loaded(recipe: Recipe, manifest: Manifest, rows: np.ndarray) -> tuple[Batch, float]:
    """A batch of `rows`, and the seconds that one worker needs for it once it is warm."""
    labels = torch.from_numpy(manifest.labels[rows])
    pictures, views = Pictures(manifest, format_of(recipe)), stand_in(recipe).views(recipe.size)
    loader = Loader(pictures, rows, labels, views, seed=recipe.seed, workers=0)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        batch = loader.collate(np.arange(len(rows)), 0)
        times.append(time.perf_counter() - started)
    return batch, min(times)


def largest_so_far() -> float:
    """Bytes: the most that torch held on a GPU, else the most that this process held."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def stand_in(recipe: Recipe) -> Method:
    """The recipe's method; what would be trained before it is made, not trained."""
    return method_of(recipe, stand_in(recipe.before) if recipe.before else None)


def prove(recipe: Recipe) -> None:
    """Make everything that the recipe names once: RecipeError for what cannot be, while nothing is written yet."""
    if not 1 <= recipe.micro_batch <= recipe.batch:
        raise RecipeError(f"a micro-batch of {recipe.micro_batch} does not fit a batch of {recipe.batch}")
    method = stand_in(recipe)
    optimizer_of(recipe, method)
    method.views(recipe.size)


def bare_step(recipe: Recipe, method: Method, batch: Batch) -> float:
    """Seconds, the least of a few, of forward, backward and optimizer on tensors that are in memory."""
    device = torch.device(recipe.device)
    method = method.to(device)
    optimizer = optimizer_of(replace(recipe, lr=0.0), method)
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    times = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
        with torch.random.fork_rng(devices=[]), autocast:  # dropout draws from the global generator
            projections = {**method.project(batch), **method.targets(batch)}
        floats = {name: v.float() if v.is_floating_point() else v for name, v in projections.items()}
        torch.autograd.backward(method.loss(floats, batch)["loss"])
        optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])
