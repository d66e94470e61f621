"""Label efficiency: the budgets are what they say, the draws are by class and group, more labels teach more."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.evaluation import efficiency, linear
from selfsight.evaluation.task import Task, pose


@pytest.fixture(scope="module")
def task() -> Task:
    labels = np.arange(600) % 3
    made = pose(labels, np.arange(600) // 2, np.arange(600) >= 400, ("a", "b", "c"))
    assert isinstance(made, Task)
    return made


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    generator = np.random.default_rng(0)
    means = generator.normal(0, 0.6, (3, 16))
    return (means[np.arange(600) % 3] + generator.normal(0, 1.0, (600, 16))).astype(np.float32)


def test_budgets_go_from_few_to_all(task: Task) -> None:
    found = efficiency.budgets(task)
    assert [(one.name, one.count) for one in found] == [
        ("1 a class", 3), ("5 a class", 15), ("10 a class", 30), ("10%", 39), ("100%", 400),
    ]  # fmt: skip
    for one in found[:-1]:
        assert len(one.draws) == efficiency.DRAWS
        assert len({tuple(rows) for rows in one.draws}) > 1
        assert all(len(set(task.train_labels[rows])) == 3 for rows in one.draws)
    again = efficiency.budgets(task)
    for one, other in zip(found, again, strict=True):
        assert all((a == b).all() for a, b in zip(one.draws, other.draws, strict=True))


def test_shares_are_stratified_and_repeat_themselves() -> None:
    labels = np.repeat([0, 1, 2], [200, 90, 4])
    task = Task(
        np.arange(294), np.arange(3), labels, np.arange(3), np.arange(294) // 2, np.arange(3), ("a", "b", "c"), ()
    )
    found = efficiency.budgets(task, shots=())
    assert [(one.name, len(one.draws)) for one in found] == [("1%", 3), ("10%", 3), ("100%", 1)]
    for one, each in zip(found, ([2, 1, 1], [20, 9, 1], [200, 90, 4]), strict=True):
        assert all(np.bincount(labels[rows]).tolist() == each for rows in one.draws)
    assert not np.array_equal(found[0].draws[0], found[0].draws[1])
    for one, again in zip(found, efficiency.budgets(task, shots=()), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one.draws, again.draws, strict=True))
    assert len(np.unique(found[1].draws[0] // 2)) == found[1].count  # no two of a group while others have none


def test_a_small_set_has_fewer_budgets() -> None:
    labels = np.arange(12) % 2
    small = pose(labels, np.arange(12), np.arange(12) >= 6, ("a", "b"))
    assert isinstance(small, Task)
    assert [one.name for one in efficiency.budgets(small)][-1] == "100%"
    assert [one.count for one in efficiency.budgets(small)] == [2, 6]


def test_more_labels_name_more_rightly(task: Task, features: np.ndarray) -> None:
    found = efficiency.frozen(features, task, efficiency.budgets(task))
    shares = [right.mean() for right in found.values()]
    assert shares[0] < shares[2] < shares[-1] + 0.02
    assert shares[0] > 0.4
    assert found["1 a class"].shape == (efficiency.DRAWS, 200)


def test_all_labels_are_the_linear_probe(task: Task, features: np.ndarray) -> None:
    every = efficiency.budgets(task)[-1:]
    own = efficiency.frozen(features, task, every)["100%"][0]
    known = (features[task.train], task.train_labels, task.train_groups)
    probe = linear.measure(*known, features[task.test], task.test_labels)
    assert (own == probe.correct).all()


def test_one_small_class_does_not_choose_for_all(features: np.ndarray) -> None:
    """With four pictures of one class the decay is still chosen; with one label a class it is not."""
    labels = np.concatenate([np.arange(296) % 2, np.full(4, 2), np.arange(300) % 3])
    task = pose(labels, np.arange(600), np.arange(600) >= 300, ("a", "b", "c"))
    assert isinstance(task, Task)
    rows = np.random.default_rng(1).normal(0, 1, (600, 60)).astype(np.float32)
    rows[:, :3] += 2 * np.eye(3, dtype=np.float32)[labels]
    found = efficiency.frozen(rows, task, efficiency.budgets(task))
    near, far = linear.principal(*linear.standardised(rows[task.train], rows[task.test]))
    for budget in efficiency.budgets(task):
        for draw, right in zip(budget.draws, found[budget.name], strict=True):
            some, names = near[draw], task.train_labels[draw]
            chosen = linear.choose(some, names, task.train_groups[draw], 3)
            decay = efficiency.STRONG if budget.name == "1 a class" else chosen
            weights, _ = linear.fit(some, names, decay, np.zeros((near.shape[1] + 1, 3)))
            assert (right == (linear.scores(far, weights).argmax(axis=1) == task.test_labels)).all()
