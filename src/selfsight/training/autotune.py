"""Precision and memory layout by measurement: a few bare steps of each on copies, which leave no trace."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from selfsight import distributed
from selfsight.data.loader import AHEAD, Loader
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import format_of
from selfsight.embedding.embed import embed
from selfsight.methods.base import Batch, Method
from selfsight.recipe import Recipe
from selfsight.training import gradcache
from selfsight.training.build import method_of, optimizer_of
from selfsight.training.memory import growth, on_card, resident, size_of

TRIED = 64  # pictures in a measured step on a processor, at most
ROUNDS = 2  # after one that warms up
GAIN = 1.05  # bf16 must be this much faster to be worth its rounding


@dataclass(frozen=True)
class Speed:
    """What was chosen and how long a step of the recipe's batch takes."""

    precision: str
    channels_last: bool
    seconds: float
    memory: float  # bytes of the process at its largest; what is mapped from disk the system may take back
    reason: str


@distributed.alone()
def measure(
    recipe: Recipe, manifest: Manifest, fixed: str | None = None, layout: bool | None = None, workers: int = 1
) -> Speed:
    """Time bare steps, and what feeds them: in fp32 and bf16 and both layouts, or in the precision that is `fixed`."""
    torch.set_num_threads(recipe.threads)
    own = 0.0 if recipe.device.startswith("cuda") else resident()  # libraries and listing
    precisions, layouts = [fixed] if fixed else ["fp32", "bf16"], [False, True] if layout is None else [layout]
    choices = [(precision, last) for precision in precisions for last in layouts]
    part = recipe.batch // recipe.world  # of one rank
    most = min(part, 2 * recipe.micro_batch) if recipe.device.startswith("cuda") else TRIED  # a card is slow at few
    rows = manifest.train_rows()[: min(most, part)]
    share = part / len(rows)
    batch, loading = loaded(recipe, manifest, rows)
    micro = min(recipe.micro_batch, len(rows) if recipe.micro_batch == part else len(rows) // 2)
    steps = {}
    for precision, last in choices:
        tried = replace(recipe, precision=precision, channels_last=last, batch=len(rows), micro_batch=micro)
        with on_card(recipe):
            steps[precision, last] = bare_step(tried, stand_in(tried), batch)
    seconds = {choice: step.seconds * share for choice, step in steps.items()}
    best = min(seconds, key=lambda choice: seconds[choice] * (1 if choice[0] == "bf16" else 1 / GAIN))
    told = ", ".join(f"{p}{' channels last' if c else ''} {recipe.batch / s:.0f}" for (p, c), s in seconds.items())
    told += f"; reading and views {recipe.batch / paced(0.0, loading * share, workers):.0f}"
    chosen = steps[best]
    memory = own + chosen.kept + chosen.working * recipe.micro_batch / micro
    if own:
        memory += chosen.kept  # once more, from which it is saved
        memory += size_of(batch.values()) * share * (workers + AHEAD + 2)
    pace = paced(seconds[best], loading * share, workers) + passing(recipe, manifest)
    return Speed(*best, pace, memory, f"measured, images/s: {told}")


def paced(step: float, loading: float, workers: int) -> float:
    """Seconds of a step that is fed by `workers`: the slower of the two sets the pace; without workers they add up."""
    return max(step, loading / workers) if workers else step + loading


def passing(recipe: Recipe, manifest: Manifest) -> float:
    """Seconds of a step that go into passes over all pictures, where the method clusters what it makes of them."""
    method, rows = stand_in(recipe), manifest.train_rows()
    if not method.reassign:
        return 0.0
    pictures, some, times = Pictures(manifest, format_of(recipe)), rows[:TRIED], []
    for _ in range(2):
        started = time.perf_counter()
        embed(method.product, pictures, some, size=recipe.size, device=torch.device(recipe.device))
        times.append(time.perf_counter() - started)
    return min(times) * len(rows) / len(some) / (method.reassign * recipe.epoch_steps)


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


def stand_in(recipe: Recipe) -> Method:
    """The recipe's method; what would be trained before it is made, not trained."""
    return method_of(recipe, stand_in(recipe.before) if recipe.before else None)


def prove(recipe: Recipe) -> None:
    """Make everything that the recipe names once: RecipeError for what cannot be, while nothing is written yet."""
    method = stand_in(recipe)
    optimizer_of(recipe, method)
    method.views(recipe.size)


@dataclass(frozen=True)
class Step:
    """What a step takes: seconds, bytes that come and go, and bytes that stay (weights, state, optimizer)."""

    seconds: float
    working: float
    kept: float


def bare_step(recipe: Recipe, method: Method, batch: Batch) -> Step:
    """The least of a few of forward, backward and optimizer on tensors that are in memory."""
    device = torch.device(recipe.device)
    method = method.to(device)
    optimizer = optimizer_of(replace(recipe, lr=0.0), method)
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    times: list[float] = []

    def step() -> None:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):  # which dropout is seeded by
            gradcache.gradient(
                method, method.project, batch, recipe.micro_batch, key=0, backward=Tensor.backward, autocast=precision
            )
        optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)

    for _ in range(ROUNDS):
        step()
    optimizer.zero_grad(set_to_none=True)
    working = growth(step, recipe.device)
    slots = [slot for state in optimizer.state.values() for slot in state.values() if isinstance(slot, Tensor)]
    return Step(min(times[1:]), working, size_of([*method.state_dict(keep_vars=True).values(), *slots]))
