"""What a start is worth when labels are few: fine-tuned with 1, 10 and 100 % of them, beside the same network from
scratch and what needs no training of a network: stratified draws with fixed seeds, repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import format_of
from selfsight.data.splits import units
from selfsight.embedding import progress
from selfsight.errors import DataError, RecipeError
from selfsight.evaluation import contest, efficiency, intervals, linear
from selfsight.evaluation.efficiency import Labels
from selfsight.evaluation.intervals import Interval
from selfsight.evaluation.kinds import kind_of
from selfsight.evaluation.measure import Ready, features
from selfsight.evaluation.protocol import ENCODER
from selfsight.evaluation.task import Task, pose
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.training import finetune
from selfsight.training.finetune import Lesson, choose, pace, state_digest
from selfsight.training.progress import clock
from selfsight.training.request import in_steps, parse_length

__all__ = ["LENGTH", "check", "measured"]

BATCH = 64  # what two cores do in a fraction of a second; the labels of 1 % rarely fill more
LENGTH = "500steps"  # the same for every start and share
LIBRARIES = ("selfsight", "torch", "timm")  # of other versions a training may come out otherwise
SCRATCH = "untrained"
ONCE = (
    "With all labels each start is trained once: that interval knows the luck of test pictures, not that of a training."
)
FROZEN = "frozen"  # the run's encoder as it is, under a linear probe

Say = Callable[[str], None]
Tell = Callable[[], None]


class Fit(NamedTuple):
    """The rate of a training, and the class it gives to each test picture."""

    lr: float
    predictions: Int[np.ndarray, "Q"]


class Drawn(NamedTuple):
    """One draw of labelled training pictures."""

    labels: Labels
    number: int

    @property
    def places(self) -> Int[np.ndarray, "S"]:
        """In the task's training part."""
        return self.labels.draws[self.number]


@dataclass(frozen=True)
class Fits:
    """The trainings of a table, one for each start and draw. What is finished is kept in `folder`."""

    pictures: Pictures
    rows: Int[np.ndarray, "N"]  # of the manifest; those of the task count in them
    task: Task
    recipe: Recipe
    folder: Path
    steps: int = 0  # settled once the pace is known

    def lesson(self, drawn: Drawn) -> Lesson:
        """What a start learns from this draw."""
        rows, labels = self.rows[self.task.train[drawn.places]], self.task.train_labels[drawn.places]
        size, precision = self.recipe.size, self.recipe.precision
        return Lesson(self.pictures, rows, labels, size, self.steps, BATCH, seed=drawn.number, precision=precision)

    def fit(self, name: str, start: Encoder, drawn: Drawn, lr: float | None, tell: Tell) -> Fit:
        """From an earlier start of the same command, or trained now."""
        lesson, test = self.lesson(drawn), self.rows[self.task.test]
        file = self.folder / f"{name}-{drawn.labels.count}-{drawn.number}.json"
        key = self.key(start, lesson, test, lr)
        with suppress(OSError, ValueError, KeyError):
            kept = json.loads(file.read_bytes())
            if kept["key"] == key:
                return Fit(kept["lr"], np.array(kept["predictions"]))
        rate = lr or choose(start, lesson, self.task.train_groups[drawn.places], tell)
        found = Fit(rate, finetune.train(start, lesson, rate, tell).predict(self.pictures, test))
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"key": key, "lr": found.lr, "predictions": found.predictions.tolist()}
        checkpoints.replace_file(file, json.dumps(kept).encode())
        return found

    def pace(self, start: Encoder, draws: Sequence[Drawn], asked: Sequence[str]) -> float:
        """Seconds of a step: those that an earlier start of the same command measured, so that it goes on there."""
        lesson, file = self.lesson(draws[-1]), self.folder / "pace"
        facts = [*asked, start.name, [len(one.places) for one in draws], lesson.size, lesson.precision]
        key = sha256(json.dumps(facts).encode()).hexdigest()
        with suppress(OSError, ValueError, LookupError, TypeError):
            kept = json.loads(file.read_bytes())
            if kept["key"] == key:
                return float(kept["second"])
        second = pace(start, lesson)
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.replace_file(file, json.dumps({"key": key, "second": second}).encode())
        return second

    def key(self, start: Encoder, lesson: Lesson, test: Int[np.ndarray, "Q"], lr: float | None) -> str:
        """A digest of everything that a fit depends on."""
        digests = [self.pictures.manifest.digests[row] for row in (*lesson.rows, *test)]
        settings = [lesson.size, lesson.steps, lesson.batch, lesson.precision, lesson.seed, lr]
        settings.append({"least": self.pictures.least})
        facts = [state_digest(start), digests, lesson.labels.tolist(), settings, [version(one) for one in LIBRARIES]]
        return sha256(json.dumps(facts).encode()).hexdigest()


def check(manifest: Manifest, encoder: Embedder, length: str) -> None:
    """DataError or RecipeError where there is nothing to fine-tune, before anything takes time."""
    parse_length(length, "--finetune-for")
    if not isinstance(encoder, Encoder):
        raise RecipeError(f"--finetune trains encoders of pictures, and this run learned from {encoder.kind}")
    task = pose(manifest.labels, manifest.groups, manifest.test, manifest.classes)
    if isinstance(task, str):
        raise DataError(
            f"--finetune has nothing to learn or to be measured on. {task} Give other DATA, or leave it out"
        )


def measured(
    encoders: Mapping[str, Embedder],
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    *,
    length: str = LENGTH,
    say: Say = lambda sentence: None,
) -> dict[str, Any]:
    """The table as JSON: for each share every start and every plain row, with intervals and the encoder's lead.

    `encoders` are "encoder" and what it is measured beside; "untrained" is where scratch starts. Trainings that are
    finished stay in `folder`. `say` hears what is to come and how long it takes.
    """
    before = {name: state_digest(one) for name, one in encoders.items()}
    pictures = Pictures(manifest, format_of(recipe), max_bad=1.0, kept=True, least=recipe.least_side)
    kind = kind_of(manifest.kind, recipe.pixels["low"], recipe.pixels["high"])
    known = np.flatnonzero(~manifest.test)
    its = {FROZEN: Ready.of(FROZEN, encoders[ENCODER], pictures, known, recipe.size)}
    frozen, rows, _ = features(its, pictures, manifest.every_row(), known, kind, size=recipe.size)
    groups = units(manifest.groups, manifest.digests)[rows]
    task = pose(manifest.labels[rows], groups, manifest.test[rows], manifest.classes)
    if isinstance(task, str):
        raise DataError(f"--finetune has nothing to learn or to be measured on among what can be read. {task}")
    budgets = efficiency.budgets(task, shots=())
    draws = [Drawn(labels, number) for labels in budgets for number in range(len(labels.draws))]
    starts = {name: one for name, one in encoders.items() if isinstance(one, Encoder)}
    fits = Fits(pictures, rows, task, recipe, folder)
    fits = replace(fits, steps=steps_of(length, fits, starts, draws, say))
    started = time.monotonic()
    named = trained(fits, starts, draws)
    seconds = round(time.monotonic() - started, 1)
    if before != {name: state_digest(one) for name, one in encoders.items()}:
        raise AssertionError("fine-tuning changed an encoder that it was to copy")
    return {"steps": fits.steps, "batch": BATCH, "seconds": seconds, **table(task, budgets, named, frozen)}


def steps_of(length: str, fits: Fits, starts: Mapping[str, Encoder], draws: list[Drawn], say: Say) -> int:
    """Steps of each training, and a sentence on how long all of them take; the speed is that of a few steps."""
    number, unit = parse_length(length, "--finetune-for")
    second = fits.pace(starts[ENCODER], draws, [length, *starts])
    whole = second * len(starts) * work(1000, draws) / 1000  # minutes are of all trainings together
    steps = max(1, round(in_steps(number, unit, epoch=len(draws[-1].places) / BATCH, batch=BATCH, second=whole)))
    say(
        f"Fine-tuning: {len(draws) * len(starts)} trainings of {steps} steps of {BATCH} pictures, and the choice of "
        f"their rates: about {clock(second * work(steps, draws) * len(starts))}. What is finished is kept: the same "
        "command goes on there."
    )
    return steps


def work(steps: int, draws: list[Drawn]) -> int:
    """Steps that one start makes in all draws; the rate is chosen on the first of each share."""
    return sum(finetune.work(steps, len(one.places), chosen=one.number > 0) for one in draws)


def trained(fits: Fits, starts: Mapping[str, Encoder], draws: list[Drawn]) -> dict[str, list[Fit]]:
    """Every start on every draw."""
    named: dict[str, list[Fit]] = {name: [] for name in starts}
    steps = count(1)
    with progress.line("fine-tuning", work(fits.steps, draws) * len(starts)) as tell:
        for one in draws:
            for name, start in starts.items():
                lr = named[name][-1].lr if one.number else None  # the first draw of a share chooses
                named[name].append(fits.fit(name, start, one, lr, lambda: tell(next(steps))))
    return named


def table(
    task: Task,
    budgets: Sequence[Labels],
    named: Mapping[str, list[Fit]],
    frozen: Mapping[str, Float[np.ndarray, "N _"]],
) -> dict[str, Any]:
    """Accuracies with intervals by share and row, and what they say of the run beside training from scratch."""
    large = linear.is_large((rows.shape[1] for rows in frozen.values()), len(task.classes))
    probed = {name: efficiency.frozen(rows, task, budgets, large=large) for name, rows in frozen.items()}
    shares: dict[str, Any] = {}
    first = 0
    for labels in budgets:
        fits = {name: every[first : first + len(labels.draws)] for name, every in named.items()}
        first += len(labels.draws)
        right = {name: np.stack([one.predictions == task.test_labels for one in some]) for name, some in fits.items()}
        right |= {name: found[labels.name] for name, found in probed.items()}
        rows = {name: row(found, right[ENCODER], task) for name, found in right.items()}
        for name, some in fits.items():
            rows[name]["lr"] = some[0].lr
        shares[labels.name] = {"labels": labels.count, "draws": len(labels.draws), "rows": rows}
    return {"shares": shares, "majority": task.majority, **conclusion(shares, task)}


def row(right: Bool[np.ndarray, "R Q"], own: Bool[np.ndarray, "R Q"], task: Task) -> dict[str, Any]:
    """Mean over draws, the draws' standard deviation, and the encoder's lead; intervals by test group and by draw."""
    found: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "interval": list(contest.of_row(right.astype(np.float64), task.test_groups)),
        "spread": float(right.mean(axis=1).std(ddof=1)) if len(right) > 1 else 0.0,
    }
    if right is not own:
        found["difference"] = float(own.mean() - right.mean())
        found["difference_interval"] = list(lead(own, right, task.test_groups))
    return found


def lead(own: Bool[np.ndarray, "R Q"], other: Bool[np.ndarray, "R Q"], groups: Int[np.ndarray, "Q"]) -> Interval:
    """Of the difference; with several draws their luck is in it, which is that of the differences: both sides have the
    same draws."""
    if len(own) == 1:
        return intervals.of_difference(own[0], other[0], groups)
    rows = {"lead": own.astype(np.float64) - other, "nothing": np.zeros((1, own.shape[1]))}
    (gap,) = contest.compared(rows, [("lead", "nothing")], groups)
    return gap.interval


def conclusion(shares: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Whether starting from the run was shown to help, share by share, in one sentence."""
    if len(np.unique(task.test_groups)) < intervals.FEWEST:
        return {"helped": {}, "sentence": "There are too few test groups to say whether starting from this run helps."}
    helped = {share: found["rows"][SCRATCH]["difference_interval"][0] > 0 for share, found in shares.items()}
    parts = []
    for share, found in shares.items():
        scratch = found["rows"][SCRATCH]
        low, high = scratch["difference_interval"]
        says = "helps" if helped[share] else "is not shown to help"
        parts.append(
            f"with {share.replace('%', ' %')} of the labels ({found['labels']}) it {says} "
            f"({scratch['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})"
        )
    told = f"Starting from this run instead of from scratch: {'; '.join(parts)}. {ONCE}"
    return {"helped": helped, "sentence": told}
