"""The bare step, on tensors that are in memory: how long it takes, and how much memory one of more pictures will take.

What grows with the batch (projections, targets and all in the loss) is told from what grows with a micro-batch (what
the network keeps for its gradient) and from what grows with neither (gradients, matrices of dimensions by dimensions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from selfsight.methods.base import Batch, Method, Projections
from selfsight.nn.attention import plain_attention
from selfsight.recipe import Recipe
from selfsight.training import gradcache
from selfsight.training.build import optimizer_of
from selfsight.training.memory import growth, size_of

__all__ = ["Bare"]

ROUNDS = 2  # before the one whose memory is measured as well; the first warms up
ROOM = 2**25  # bytes of the rows that a loss is measured on, where those of the step are fewer


class Bare:
    """Forward, backward and optimizer at a rate of 0; `seconds` is the least of a few steps of `batch`."""

    def __init__(self, recipe: Recipe, method: Method, batch: Batch) -> None:
        self.device, self.micro = torch.device(recipe.device), recipe.micro_batch
        self.method = method.to(self.device)
        self.optimizer = optimizer_of(replace(recipe, lr=0.0), self.method)
        self.batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        self.count = len(next(iter(batch.values())))
        self.autocast = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
        times = [self.step(self.count) for _ in range(ROUNDS)]
        self.most = self.grown(lambda: times.append(self.step(self.count)))
        self.seconds = min(times[1:])
        slots = [slot for state in self.optimizer.state.values() for slot in state.values() if isinstance(slot, Tensor)]
        self.kept = size_of([*self.method.state_dict(keep_vars=True).values(), *slots])  # weights, state, optimizer

    def step(self, count: int) -> float:
        """The seconds of a step with the first `count` pictures."""
        part, started = first(self.batch, count), time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):  # which dropout is seeded by
            gradcache.gradient(
                self.method, self.method.project, part, min(self.micro, count), key=0, backward=Tensor.backward,
                autocast=self.autocast,
            )  # fmt: skip
        self.optimizer.step()
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter() - started

    def grown(self, work: Callable[[], object]) -> float:
        """The bytes that `work` adds at its largest, where no gradient is there yet."""
        self.optimizer.zero_grad(set_to_none=True)
        return growth(work, str(self.device))

    def working(self, batch: int, micro: int) -> float:
        """The bytes that come and go in a step of `batch` pictures in micro-batches of `micro`."""
        if micro == batch:
            return line(lambda count: self.grown(lambda: self.step(count)), self.count, batch, self.most)
        with torch.random.fork_rng(devices=[]):
            projections, targets = self.projected()
            floats = {name: rows for name, rows in projections.items() if rows.is_floating_point()}
            each, slopes = size_of([*projections.values(), *targets.values()]) / self.count, size_of(floats.values())
            rows = max(self.count, int(ROOM // (each + size_of(self.batch.values()) / self.count)))
            lost = line(lambda count: self.lost(projections, targets, count), min(rows, batch), batch)
            replayed = line(self.replayed, self.micro, micro)
        parted = 1 if self.device.type == "cuda" else 2  # memory of the parts that rows came in stays with the process
        return parted * each * batch + max(lost, slopes / self.count * batch + replayed)

    def projected(self) -> tuple[Projections, Projections]:
        """What the loss compares, of all pictures."""
        parts = list(gradcache.split(self.batch, self.micro))
        with self.autocast(), plain_attention():
            made = [gradcache.without_gradient(work, parts, 0) for work in (self.method.project, self.method.targets)]
        return gradcache.float32(made[0]), gradcache.float32(made[1])

    def lost(self, projections: Projections, targets: Projections, count: int) -> float:
        """The bytes that the loss of `count` pictures and its slopes take: those there are, again and again."""
        places = torch.arange(count, device=self.device) % self.count
        leaves, others, facts = (
            {name: rows[places] for name, rows in named.items()} for named in (projections, targets, self.batch)
        )
        asked = [rows.requires_grad_() for rows in leaves.values() if rows.is_floating_point()]

        def work() -> None:
            torch.autograd.grad(self.method.loss({**leaves, **others}, facts)["loss"], asked, allow_unused=True)

        return self.grown(work)

    def replayed(self, count: int) -> float:
        """The bytes of a micro-batch that goes through the network for its gradient."""

        def work() -> None:
            with self.autocast(), plain_attention():
                made = self.method.project(first(self.batch, count))
            torch.autograd.backward([rows.sum() for rows in made.values() if rows.requires_grad])

        return self.grown(work)


def first(batch: Batch, count: int) -> Batch:
    """The first `count` pictures."""
    return {name: tensor[:count] for name, tensor in batch.items()}


def line(grown: Callable[[int], float], count: int, wanted: int, known: float | None = None) -> float:
    """The bytes of `wanted` pictures: those of `count` where that is as many, else on from half of them and all."""
    most = grown(count) if known is None else known
    if wanted <= count:
        return most
    return most + max(0.0, most - grown(count // 2)) / (count - count // 2) * (wanted - count)
