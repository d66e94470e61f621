"""Weakest classes and hard cases of a kNN measurement."""

from __future__ import annotations

import numpy as np

from selfsight.evaluation import cases, knn
from selfsight.evaluation.task import Task, pose

NAMES = ("ant", "bee", "cow")


def measured() -> tuple[knn.Knn, Task]:
    """Three classes along axes; three test cows lie among the bees, the first of them right in the middle."""
    labels = np.repeat([0, 1, 2], 20)
    test = np.arange(60) % 20 >= 15
    rows = np.eye(3)[labels] + 0.05 * np.random.default_rng(0).normal(size=(60, 3))
    rows[55:58] = [0, 1, 0], [0, 0.8, 0.7], [0.1, 0.8, 0.7]
    task = pose(labels, np.arange(60), test, NAMES)
    assert isinstance(task, Task)
    found = knn.measure(rows[task.train], task.train_labels, task.train_groups, rows[task.test], task.test_labels)
    return found, task


def test_the_weakest_class_comes_first() -> None:
    table = cases.classes(*measured())
    assert [one["label"] for one in table] == ["cow", "ant", "bee"]
    assert table[0] | {"pictures": 5, "accuracy": 0.4, "said": "bee"} == table[0]
    assert table[1] | {"accuracy": 1.0, "said": None} == table[1]
    assert all(one["interval"][0] <= one["accuracy"] <= one["interval"][1] for one in table)


def test_hard_cases_are_wrong_and_the_surest_comes_first() -> None:
    found, task = measured()
    table = cases.hard(found, task)
    assert table[0][0] == 55
    assert {place for place, _ in table} == {55, 56, 57}
    assert all(told["said"] == "bee" and 0.5 < told["confidence"] <= 1 for _, told in table)
