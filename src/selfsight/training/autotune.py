"""Precision and memory layout by measurement: a few bare steps of each on copies, which leave no trace."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from selfsight import distributed
from selfsight.data.loader import Loader, waiting
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import format_of
from selfsight.embedding.embed import embed
from selfsight.methods.base import Batch, Method
from selfsight.recipe import Recipe
from selfsight.training.bare import Bare
from selfsight.training.build import method_of, optimizer_of
from selfsight.training.memory import on_card, resident, size_of

TRIED = 64  # pictures in a measured step on a processor, at most
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
    micro = min(recipe.micro_batch, len(rows) if recipe.micro_batch == part else len(rows) // 2)
    rows = rows[: len(rows) // micro * micro]  # a part of one picture has no batch statistics
    share = part / len(rows)
    batch, loading = loaded(recipe, manifest, rows)
    seconds = dict[tuple[str, bool], float]()
    chosen: Bare | None = None

    def bare(choice: tuple[str, bool]) -> Bare:
        tried = replace(recipe, precision=choice[0], channels_last=choice[1], batch=len(rows), micro_batch=micro)
        return Bare(tried, stand_in(tried), batch)

    with on_card(recipe):
        for choice in choices:
            chosen = None  # one network at a time: there may be room for one
            with suppress(torch.OutOfMemoryError):
                chosen = bare(choice)
                seconds[choice] = chosen.seconds * share
        if not seconds:
            raise torch.OutOfMemoryError
        best = min(seconds, key=lambda choice: weighed(choice, seconds))
        if chosen is None or best != choices[-1]:
            chosen = None
            chosen = bare(best)
        working = chosen.working(part, recipe.micro_batch)
    told = ", ".join(f"{p}{' channels last' if c else ''} {recipe.batch / s:.0f}" for (p, c), s in seconds.items())
    told += f"; reading and views {recipe.batch / paced(0.0, loading * share, workers):.0f}"
    memory = own + chosen.kept + working
    if own:
        memory += chosen.kept  # once more, from which it is saved
        size = size_of(batch.values()) * share
        memory += size * (waiting(workers, size) + 2)
    pace = paced(seconds[best], loading * share, workers) + passing(recipe, manifest)
    return Speed(*best, pace, memory, f"measured, images/s: {told}")


def weighed(choice: tuple[str, bool], seconds: dict[tuple[str, bool], float]) -> float:
    """By which choices are compared: bf16 must be worth its rounding."""
    return seconds[choice] * (1 if choice[0] == "bf16" else 1 / GAIN)


def paced(step: float, loading: float, workers: int) -> float:
    """Seconds of a step that is fed by `workers`: the slower of the two sets the pace; without workers they add up."""
    return max(step, loading / workers) if workers else step + loading


def passing(recipe: Recipe, manifest: Manifest) -> float:
    """Seconds of a step that go into passes over all pictures, where the method clusters what it makes of them."""
    method, rows = stand_in(recipe), manifest.train_rows()
    if not method.reassign:
        return 0.0
    pictures, some, times = Pictures(manifest, format_of(recipe), least=recipe.least_side), rows[:TRIED], []
    for _ in range(2):
        started = time.perf_counter()
        embed(method.product, pictures, some, size=recipe.size, device=torch.device(recipe.device))
        times.append(time.perf_counter() - started)
    return min(times) * len(rows) / len(some) / (method.reassign * recipe.epoch_steps)


def loaded(recipe: Recipe, manifest: Manifest, rows: np.ndarray) -> tuple[Batch, float]:
    """A batch of `rows`, and the seconds that one worker needs for it once it is warm."""
    labels = torch.from_numpy(manifest.labels[rows])
    views = stand_in(recipe).views(recipe.side)
    pictures = Pictures(manifest, format_of(recipe), least=recipe.least_side)
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
    method.views(recipe.side)
    if recipe.view_size:
        method.product.check(recipe.view_size)
