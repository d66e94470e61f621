"""Where an encoder is wrong: its weakest classes, and test pictures that it is sure of and wrong about."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfsight.evaluation import intervals
from selfsight.evaluation.knn import Knn
from selfsight.evaluation.task import Task

HARD = 6  # pictures


def classes(found: Knn, task: Task, seed: int = 0) -> list[dict[str, Any]]:
    """kNN accuracy of each class that has test pictures, the lowest first, and what most of its wrong ones were said
    to be (None: none is wrong)."""
    table = []
    for number in np.unique(task.test_labels):
        own = task.test_labels == number
        right, wrong = found.correct[own], found.predictions[own & ~found.correct]
        interval = intervals.of_share(right, task.test_groups[own], seed=seed)
        one = {"label": task.classes[number], "pictures": int(own.sum()), "accuracy": float(right.mean())}
        said = task.classes[np.bincount(wrong).argmax()] if len(wrong) else None
        table.append(one | {"interval": list(interval), "said": said})
    return sorted(table, key=lambda one: (one["accuracy"], -one["pictures"]))


def hard(found: Knn, task: Task) -> list[tuple[int, dict[str, Any]]]:
    """At most six test pictures that were named wrongly: those where the wrong class had most of the votes.

    Of equal ones (k may be 1) that with the nearest neighbour. The rows of the pictures, and what was said of them.
    """
    wrong = np.flatnonzero(~found.correct)
    order = wrong[np.lexsort((-found.nearest[wrong], -found.confidence[wrong]))][:HARD]
    return [
        (
            int(task.test[place]),
            {"said": task.classes[found.predictions[place]], "confidence": float(found.confidence[place])},
        )
        for place in order
    ]
