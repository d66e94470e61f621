"""How many labels does an encoder need? One classifier on its frozen features, at 1, 5, 10 a class and 1, 10, 100 %."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.evaluation import few, kept, linear
from selfsight.evaluation.task import Task

SHOTS = (1, 5, 10)  # labels a class
SHARES = (0.01, 0.1)  # of all labels; each class gives its share, one at least
DRAWS = 3  # of the labelled pictures at each budget, the same for every row
# Where most labels are of classes that have fewer, the rest can hardly name what is held out to choose the decay. It is
# STRONG then: W points along the differences of class means, the safest classifier there is for so few.
CHOOSING, STRONG = 5, 1.0


@dataclass(frozen=True)
class Labels:
    """One budget: what it is called, and the training rows (0 .. N-1 of the task) that have a label, for each draw."""

    name: str
    draws: tuple[Int[np.ndarray, "S"], ...]

    @property
    def count(self) -> int:
        """Labels there are."""
        return len(self.draws[0])


def budgets(task: Task, seed: int = 0, *, shots: Sequence[int] = SHOTS) -> list[Labels]:
    """The budgets of this task, from few labels to all; those that come to as many labels as another are left out."""
    sizes = np.bincount(task.train_labels)
    asked = [(f"{number} a class", np.minimum(number, sizes)) for number in shots]
    asked += [(f"{share:.0%}", np.maximum(1, np.round(share * sizes).astype(int))) for share in SHARES]
    found: dict[int, tuple[str, Int[np.ndarray, "C"]]] = {}
    for name, each in asked:
        if each.sum() < sizes.sum():
            found.setdefault(int(each.sum()), (name, each))
    kept = [Labels(name, tuple(_draws(task, each, seed))) for _, (name, each) in sorted(found.items())]
    return [*kept, Labels("100%", (np.arange(len(task.train)),))]


def _draws(task: Task, each: Int[np.ndarray, "C"], seed: int) -> Iterator[Int[np.ndarray, "S"]]:
    """So many pictures of each class, again and again."""
    for draw in range(DRAWS):
        yield few.drawn(task.train_labels, task.train_groups, each, np.random.default_rng((seed, draw)))


def frozen(
    features: Float[np.ndarray, "N D"], task: Task, budgets: Sequence[Labels], *, large: bool = False
) -> dict[str, Bool[np.ndarray, "R Q"]]:
    """For each budget and each of its R draws: which test pictures were named rightly.

    A linear probe on features that are standardised over all training pictures, whose labels that does not need; of all
    labels it is `linear.measure`.
    """
    known, test = (features[task.train], task.train_labels, task.train_groups), (features[task.test], task.test_labels)
    near, far = linear.principal(*linear.standardised(features[task.train], features[task.test]))
    classes = len(task.classes)

    def right(rows: Int[np.ndarray, "S"]) -> Bool[np.ndarray, "Q"]:
        if len(rows) == len(task.train):
            return kept.answer(linear.measure, *known, *test, seed=0, large=large, types=(linear.Linear,)).correct
        some, names = near[rows], task.train_labels[rows]
        decay = STRONG
        if np.median(np.bincount(names)[names]) >= CHOOSING:
            decay = linear.choose(some, names, task.train_groups[rows], classes, large=large)
        weights, _ = linear.fit(some, names, decay, np.zeros((near.shape[1] + 1, classes)), large=large)
        return np.asarray(linear.scores(far, weights).argmax(axis=1) == task.test_labels)

    return {one.name: np.stack([right(rows) for rows in one.draws]) for one in budgets}
