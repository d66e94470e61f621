"""What labels alone would give: the same network, trained from scratch on them, on the same budget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from selfsight.comparison.scene import Outcome, Scene, bits
from selfsight.evaluation.efficiency import Labels
from selfsight.evaluation.task import Task
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.training.build import encoder_of
from selfsight.training.finetune import Tuned, tune, work
from selfsight.training.request import parse_length

TIMED = (1, 2, 6)  # steps: the first warms up, the others differ by bare steps
PASSES = 200  # over few labels, at most: more only learns them by heart
REPEATED = 3  # draws of labels, where they fit one batch; larger ones cost a whole budget each

NAME = "supervised"


@dataclass(frozen=True)
class Scratch:
    """Supervised training of the network of `recipe`, whose steps are the budget where `seconds` is None."""

    scene: Scene
    task: Task
    recipe: Recipe
    steps: int  # that the budget pays for, with those that choose the rate
    second: float  # that a step takes; 0 where it was not measured

    def jobs(self, seeds: int) -> Iterator[tuple[str, Labels, int]]:
        """Everything to be trained: (name, labels, which draw of them, also the seed), all labels first."""
        for seed in range(seeds):
            yield f"{NAME}-{seed}", self.scene.budgets[-1], seed
        for labels in self.scene.budgets[:-1]:
            for draw in range(REPEATED if labels.count <= self.recipe.batch else 1):
                yield f"{NAME}-{labels.count}-{draw}", labels, draw

    def length(self, labels: Labels) -> tuple[int, int]:
        """(steps, batch) of a training on these labels: what the budget pays for, and at most so many passes."""
        batch = max(2, min(self.recipe.batch, labels.count))
        most = min(self.steps, PASSES * -(-labels.count // batch))
        extra = work(most, labels.count) / most  # choosing the rate is paid from the same budget
        return max(1, round(most / extra)), batch

    def seconds(self, seeds: int) -> float:
        """That all jobs are expected to take; 0 where speed was not measured."""
        each = [(labels, *self.length(labels)) for _, labels, _ in self.jobs(seeds)]
        share = self.second / self.recipe.batch
        return sum(work(steps, labels.count) * batch * share for labels, steps, batch in each)

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
    encoder = encoder_of(replace(recipe, seed=seed), untrained=True)
    assert isinstance(encoder, Encoder)  # the labels of documents are not learned from
    rows, labels, groups = scratch.scene.rows[task.train[chosen]], task.train_labels[chosen], task.train_groups[chosen]
    options = {"size": recipe.size, "steps": steps, "batch": batch, "seed": seed}
    return tune(encoder, scratch.scene.pictures, rows, labels, groups=groups, precision=recipe.precision, **options)


def prepared(scene: Scene, task: Task, recipe: Recipe, length: str) -> Scratch:
    """The budget in steps: as given, or from a few that are timed, once for all jobs."""
    number, unit = parse_length(length)
    kept = scene.kept(NAME)
    if kept is None:
        epoch = len(task.train) / recipe.batch
        second = timed(scene, task, recipe)
        each = {"steps": number, "epochs": number * epoch, "images": number / recipe.batch}
        each["minutes"] = 60 * number / second
        kept = {"steps": max(1, round(each[unit])), "second": second}
        scene.keep(NAME, kept)
    return Scratch(scene, task, recipe, kept["steps"], kept["second"])


def timed(scene: Scene, task: Task, recipe: Recipe) -> float:
    """Seconds of a step of the recipe's batch."""
    bare, times = Scratch(scene, task, recipe, 1, 0.0), []
    chosen = np.arange(min(len(task.train), recipe.batch))
    for steps in TIMED:
        began = time.perf_counter()
        learned(bare, chosen, steps, recipe.batch, 0)
        times.append(time.perf_counter() - began)
    made = work(TIMED[-1], len(chosen)) - work(TIMED[-2], len(chosen))
    return max(1e-4, (times[-1] - times[-2]) / made)
