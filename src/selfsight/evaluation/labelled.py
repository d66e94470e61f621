"""From labelled pictures to a classifier that knows how good it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.data.manifest import Manifest
from selfsight.data.splits import units
from selfsight.embedding.embed import Readable, embed
from selfsight.errors import DataError
from selfsight.evaluation import calibration, classifier, holdout, intervals, linear
from selfsight.evaluation.classifier import Classifier
from selfsight.evaluation.measure import readable, unread, with_statistics
from selfsight.evaluation.protocol import ENCODER
from selfsight.evaluation.task import Task, listed, pose
from selfsight.nn.embedder import Embedder

FEW = 5  # labelled pictures of a class below which people are warned
HELD_OUT = 0.2  # of the labelled pictures, to measure on where none are test pictures

Vectors = Mapping[str, Float[np.ndarray, "N D"]]


def learn(
    encoders: Mapping[str, Embedder], pictures: Readable, labelled: Manifest, seen: Bool[np.ndarray, "N"], *, size: int
) -> Classifier:
    """Fit to the labelled pictures that are no test pictures, and measure on those that are.

    Where there are none a fifth is held out to measure a classifier of the rest; the one that is kept is fitted to all.
    `encoders` are "encoder" and what it is measured beside, `seen` what that was trained on; each picture of `labelled`
    has a label. Raises DataError when all of them are test pictures, or hardly any can be read.
    """
    known = np.flatnonzero(~labelled.test)
    if not len(known):
        raise DataError("every labelled picture is in the test part, and that is never fitted to; label others")
    vectors, rows = {}, labelled.every_row()
    with readable(labelled, "label the pictures where they are now, with --labels"):
        for name, one in encoders.items():
            ready = with_statistics(one, pictures, known, size) if name == "untrained" else one
            vectors[name], rows = embed(ready, pictures, labelled.every_row(), size=size, plain=True)
    found = fitted(vectors, labelled.taking(rows), seen[rows])
    if white := encoders[ENCODER].whitening:
        found = found.of_whitened(white)
    return replace(found, facts={**found.facts, "notes": unread(labelled, rows) + list(found.facts["notes"])})


def fitted(vectors: Vectors, labelled: Manifest, seen: Bool[np.ndarray, "N"]) -> Classifier:
    """The classifier, and in its facts what it is worth; rows of all arguments belong together."""
    groups = units(labelled.groups, labelled.digests)
    aside, anew = to_measure_on(labelled, groups, seen)
    used = np.flatnonzero(~labelled.test | aside)
    task = pose(labelled.labels[used], groups[used], aside[used], labelled.classes)
    train = np.flatnonzero(~labelled.test)
    numbers, labels = np.unique(labelled.labels[train], return_inverse=True)
    classes = tuple(labelled.classes[number] for number in numbers)
    notes = warnings(classes, np.bincount(labels))
    if not isinstance(task, Task):
        model = classifier.fit(vectors[ENCODER][train], labels, groups[train], classes)
        notes += [f"How good this classifier is cannot be said. {task}"]
        return replace(model, facts={**model.facts, "held_out": None, "notes": notes})
    large = linear.is_large((rows.shape[1] for rows in vectors.values()), len(classes))
    model, measured = measure({name: rows[used] for name, rows in vectors.items()}, task, large)
    if anew:
        model = classifier.fit(vectors[ENCODER][train], labels, groups[train], classes, large=large)
    notes += [*task.notes, *origin(task, seen[used][task.test], anew)]
    return replace(model, facts={**model.facts, "held_out": measured, "notes": notes})


def to_measure_on(
    labelled: Manifest, groups: Int[np.ndarray, "N"], seen: Bool[np.ndarray, "N"]
) -> tuple[Bool[np.ndarray, "N"], bool]:
    """Pictures to measure on, and whether they are held out of those that the classifier is fitted to in the end.

    Test pictures that the encoder has not seen, else those that it has, else a fifth of what there is.
    """
    test = labelled.test & np.isin(labelled.labels, labelled.labels[~labelled.test])
    if test.any():
        return (test & ~seen if (test & ~seen).any() else test), False
    aside = np.zeros(len(labelled), bool)
    rest = np.flatnonzero(~labelled.test)
    aside[rest] = holdout.by_group(groups[rest], HELD_OUT)
    return aside, True


def measure(vectors: Vectors, task: Task, large: bool) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of the training part, and its accuracy on the test part beside that of the other encoders."""
    models, right = {}, {}
    confidence = np.zeros(0)
    for name, rows in vectors.items():
        train = (rows[task.train], task.train_labels, task.train_groups)
        models[name] = classifier.fit(*train, task.classes, large=large)
        chances = models[name].probabilities(rows[task.test])
        right[name] = chances.argmax(axis=1) == task.test_labels
        confidence = chances.max(axis=1) if name == ENCODER else confidence
    groups = task.test_groups
    scores: dict[str, dict[str, Any]] = {
        name: {"accuracy": float(one.mean()), "interval": list(intervals.of_share(one, groups))}
        for name, one in right.items()
    }
    own = scores.pop(ENCODER)
    for name, one in scores.items():
        one["difference"] = own["accuracy"] - one["accuracy"]
        one["difference_interval"] = list(intervals.of_difference(right[ENCODER], right[name], groups))
    told = {"pictures": len(task.test), "groups": len(np.unique(groups)), **own, "majority": task.majority}
    return models[ENCODER], told | {
        "baselines": scores,
        "calibration": calibration.judge(confidence, right[ENCODER], groups),
    }


def warnings(classes: tuple[str, ...], counts: Int[np.ndarray, "C"]) -> list[str]:
    """What people should know before they rely on it."""
    if len(classes) == 1:
        return [f"Only {classes[0]!r} has labels, so every picture is given it; label pictures of something else too."]
    few = np.flatnonzero(counts < FEW)
    return [f"Fewer than {FEW} labelled pictures to learn from: {listed(few, classes)}."] if len(few) else []


def origin(task: Task, seen: Bool[np.ndarray, "Q"], anew: bool) -> list[str]:
    """Which pictures the accuracy is of, where that is not simply the test part."""
    notes = []
    both = np.intersect1d(task.train_groups, task.test_groups)
    if len(both):
        said = "1 group has" if len(both) == 1 else f"{len(both)} groups have"
        notes.append(f"{said} pictures in both parts, which flatters the accuracy.")
    if anew:
        notes.append(
            f"There are no labelled test pictures: the accuracy is of a classifier of {len(task.train)} pictures on "
            f"{len(task.test)} that were held out; the one that is kept was then fitted to all."
        )
    if seen.any():
        notes.append(
            f"The encoder was trained on {int(seen.sum())} of the {len(task.test)} pictures measured on. That flatters "
            "it, above all if it learned from their labels."
        )
    return notes


def obtained(
    saved: Classifier | None, labelled: Manifest, own: bool, encoder: str, teach: Callable[[Manifest], Classifier]
) -> tuple[Classifier, bool]:
    """The saved classifier if it knows just these labels, else a new one of `teach`; and whether it is the saved one.

    `own` labels are the run's: where it has none, what was saved does. Raises DataError when there is nothing to learn
    from.
    """
    labels = labelled.taking(np.flatnonzero(labelled.labels >= 0))
    if saved is not None and (saved.facts.get("labels") == labels.digest() or (own and not len(labels))):
        return saved, True
    if not len(labels):
        raise DataError(
            "the run's pictures have no labels to learn from; give labelled ones with --labels"
            if own
            else "none of the pictures of --labels has a label; name the column with --label-column, or put each class "
            "in a folder of its own"
        )
    found = teach(labels)
    return replace(found, facts={"encoder": encoder, "labels": labels.digest(), **found.facts}), False
