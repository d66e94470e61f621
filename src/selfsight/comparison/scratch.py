"""What labels alone would give: the same network, trained from scratch on them, on the same budget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int

from selfsight.comparison.scene import Outcome, Scene, bits
from selfsight.evaluation.efficiency import DRAWS, Labels
from selfsight.evaluation.task import Task
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.training.build import encoder_of
from selfsight.training.finetune import Lesson, Tuned, pace, tune, work
from selfsight.training.request import in_steps, parse_length

PASSES = 200  # over few labels, at most: more only learns them by heart
REPEATED = DRAWS  # of labels, where all together fit one batch; of more labels each costs a whole budget

NAME = "supervised"


@dataclass(frozen=True)
class Scratch:
    """Supervised training of the network of `recipe`."""

    scene: Scene
    task: Task
    recipe: Recipe
    steps: int  # that the budget pays for, with those that choose the rate
    second: float  # that a step of the recipe's batch takes

    def jobs(self, seeds: int) -> Iterator[tuple[str, Labels, int]]:
        """Everything to be trained: (name, labels, which draw of them, also the seed), all labels first."""
        for seed in range(seeds):
            yield f"{NAME}-{seed}", self.scene.budgets[-1], seed
        for labels in self.scene.budgets[:-1]:
            for draw in range(REPEATED if REPEATED * labels.count <= self.recipe.batch else 1):
                yield f"{NAME}-{labels.count}-{draw}", labels, draw

    def length(self, labels: Labels) -> tuple[int, int]:
        """(steps, batch) of a training on these labels: what the budget pays for, and at most so many passes."""
        batch = max(2, min(self.recipe.batch, labels.count))
        most = min(self.steps, PASSES * -(-labels.count // batch))
        extra = work(most, labels.count) / most  # choosing the rate is paid from the same budget
        return max(1, round(most / extra)), batch

    def seconds(self, jobs: Iterable[tuple[str, Labels, int]]) -> float:
        """That these jobs are expected to take."""
        each = [(labels, *self.length(labels)) for _, labels, _ in jobs]
        return sum(work(steps, labels.count) * batch * self.second / self.recipe.batch for labels, steps, batch in each)

    def result(self, name: str, labels: Labels, draw: int) -> Outcome:
        """Train and name the test pictures, or take what was measured."""
        if (found := self.scene.kept(name)) is not None:
            return dict(found)
        chosen = labels.draws[min(draw, len(labels.draws) - 1)]
        steps, batch = self.length(labels)
        began = time.perf_counter()
        tuned = learned(self, chosen, steps, batch, draw)
        guessed = tuned.predict(self.scene.pictures, self.scene.rows[self.task.test])
        outcome = {
            "right": {"linear": bits(guessed == self.task.test_labels)},
            "seconds": time.perf_counter() - began,
            "steps": steps,
            "pictures_seen": work(steps, labels.count) * batch,
        }
        self.scene.keep(name, outcome)
        return outcome


def learned(scratch: Scratch, chosen: Int[np.ndarray, "S"], steps: int, batch: int, seed: int) -> Tuned:
    """A network after so many steps on the chosen labels."""
    task, recipe = scratch.task, scratch.recipe
    rows, labels, groups = scratch.scene.rows[task.train[chosen]], task.train_labels[chosen], task.train_groups[chosen]
    return tune(
        start(recipe, seed), scratch.scene.pictures, rows, labels, groups=groups, size=recipe.size, steps=steps,
        batch=batch, seed=seed, precision=recipe.precision, device=torch.device(recipe.device),
    )  # fmt: skip


def start(recipe: Recipe, seed: int) -> Encoder:
    """The network before training."""
    encoder = encoder_of(replace(recipe, seed=seed), untrained=True)
    assert isinstance(encoder, Encoder)  # the labels of documents are not learned from
    return encoder


def prepared(scene: Scene, task: Task, recipe: Recipe, length: str) -> Scratch:
    """The budget in steps: as given, or from a few that are timed, once for all jobs."""
    number, unit = parse_length(length)
    kept = scene.kept(NAME)
    if kept is None:
        epoch, batch = len(task.train) / recipe.batch, recipe.batch
        lesson = Lesson(
            scene.pictures, scene.rows[task.train], task.train_labels, recipe.size, 1, batch,
            precision=recipe.precision, device=torch.device(recipe.device),
        )  # fmt: skip
        second = pace(start(recipe, 0), lesson)
        steps = in_steps(number, unit, epoch=epoch, batch=batch, second=second)
        kept = {"steps": max(1, round(steps)), "second": second}
        scene.keep(NAME, kept)
    return Scratch(scene, task, recipe, kept["steps"], kept["second"])
