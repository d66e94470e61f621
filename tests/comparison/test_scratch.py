"""Training from scratch costs what the budget pays for: no more steps than it, none over few labels for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from selfsight.comparison.scratch import PASSES, Scratch
from selfsight.evaluation.efficiency import Labels
from selfsight.training.finetune import work


def labels(count: int) -> Labels:
    return Labels(f"{count}", (np.arange(count),) * 5)


@pytest.fixture
def taught() -> Scratch:
    scene: Any = SimpleNamespace(budgets=[labels(9), labels(90), labels(2000)])
    recipe: Any = SimpleNamespace(batch=128)
    return Scratch(scene, None, recipe, steps=1000, second=0.5)  # type: ignore[arg-type]


def test_choosing_the_rate_is_paid_from_the_same_budget(taught: Scratch) -> None:
    steps, batch = taught.length(labels(2000))
    assert batch == 128
    assert work(steps, 2000) == pytest.approx(1000, abs=2)
    assert steps < 1000


def test_few_labels_are_passed_over_a_limited_number_of_times(taught: Scratch) -> None:
    steps, batch = taught.length(labels(9))
    assert (steps, batch) == (PASSES, 9)
    steps, batch = taught.length(labels(90))
    assert work(steps, 90) == pytest.approx(PASSES, abs=2)
    assert taught.length(labels(1))[1] == 2, "batch norm needs two"


def test_jobs_and_their_time(taught: Scratch) -> None:
    jobs = list(taught.jobs(2))
    assert [name for name, _, _ in jobs] == [
        "supervised-0", "supervised-1", "supervised-9-0", "supervised-9-1", "supervised-9-2", "supervised-90-0",
    ]  # fmt: skip
    assert taught.seconds(jobs[:1]) == pytest.approx(500, abs=2)
    assert taught.seconds(jobs[2:3]) == pytest.approx(PASSES * 9 / 128 * 0.5)
    assert taught.seconds([]) == 0
