"""Training from scratch costs what the budget pays for: no more steps than it, none over few labels for ever; it
computes where the methods do, and what fails costs its own line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from contract_parts import everything_scanned

from selfsight.comparison import scratch, story
from selfsight.comparison.asked import Asked
from selfsight.comparison.scratch import PASSES, Scratch
from selfsight.data import ranges
from selfsight.data.pictures import Pictures
from selfsight.embedding import embed
from selfsight.errors import AddressError, DataError, DiskError, SelfsightError
from selfsight.evaluation.efficiency import Labels
from selfsight.evaluation.task import Task
from selfsight.nn.encoder import Encoder
from selfsight.training import finetune
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


def test_it_computes_where_the_methods_do(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its speed, and so its part of the budget, would be another device's."""
    manifest = everything_scanned(photos)
    every = manifest.every_row()
    scene: Any = SimpleNamespace(
        pictures=Pictures(manifest, ranges.measure(manifest, every)), rows=every, kept=lambda _: None,
        keep=lambda *_: None,
    )  # fmt: skip
    task: Any = SimpleNamespace(train=every, train_labels=manifest.labels, train_groups=every, test=every[:4])
    recipe: Any = SimpleNamespace(batch=8, size=32, precision="fp32", device="cpu")
    monkeypatch.setattr(scratch, "start", lambda *_: Encoder("test_resnet", size=32))
    for room in (finetune, embed):
        monkeypatch.setattr(room, "best_device", lambda: pytest.fail("the recipe's device was asked for"))
    made = scratch.prepared(scene, task, recipe, "2steps")
    assert made.second > 0
    tuned = scratch.learned(made, every, 1, 8, 0)
    assert tuned.encoder.device == torch.device("cpu")
    assert len(tuned.predict(scene.pictures, task.test)) == 4


@pytest.mark.parametrize("error", [AddressError("no answer"), DataError("no picture"), DiskError("no room")])
def test_what_fails_costs_its_own_line(
    error: SelfsightError, taught: Scratch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    numbers = np.arange(4)
    task = Task(numbers, numbers, numbers, numbers, numbers, numbers, ("a",), ())
    scene: Any = SimpleNamespace(task=task, recipe=None)
    comparison = story.Comparison(Asked(["photos"], ["simclr"], "2steps"), Path(), None, "", 0, quiet=False)  # type: ignore[arg-type]
    monkeypatch.setattr(scratch, "prepared", fails)
    assert comparison.taught(scene) is None
    taught.scene.kept = lambda _: None  # type: ignore[method-assign]
    monkeypatch.setattr(Scratch, "result", fails)
    assert comparison.supervised(taught, []) == {}
    told = str(error)
    assert comparison.failed == {"supervised": told} | {f"supervised, {count} labels": told for count in (2000, 9, 90)}
    assert f"supervised, 90 labels has no result: {told}" in capsys.readouterr().err
