"""Which pictures a table is about: labelled, split, and with something to learn their class from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

NAMED = 5  # classes a note names before it counts the rest


@dataclass(frozen=True)
class Task:
    """Rows of the features that are used, their classes as 0 .. C-1, and what was left out, in sentences."""

    train: Int[np.ndarray, "N"]  # rows
    test: Int[np.ndarray, "Q"]
    train_labels: Int[np.ndarray, "N"]
    test_labels: Int[np.ndarray, "Q"]
    train_groups: Int[np.ndarray, "N"]
    test_groups: Int[np.ndarray, "Q"]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def majority(self) -> float:
        """Test accuracy of always naming the class that is commonest in the training part."""
        return float((self.test_labels == np.bincount(self.train_labels).argmax()).mean())

    def summary(self) -> dict[str, int | float]:
        """What an accuracy depends on, for the JSON."""
        return {
            "train": len(self.train),
            "test": len(self.test),
            "test_groups": len(np.unique(self.test_groups)),
            "classes": len(self.classes),
            "majority": self.majority,
        }


def pose(
    labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"], test: Bool[np.ndarray, "N"], classes: Sequence[str]
) -> Task | str:
    """The task that labels (-1: unlabelled) and split make, or one sentence why they make none."""
    if not (labels >= 0).any():
        return "The pictures have no labels."
    learnable = np.unique(labels[(labels >= 0) & ~test])
    train = np.flatnonzero((labels >= 0) & ~test)
    tested = np.flatnonzero(np.isin(labels, learnable) & test)
    if len(learnable) < 2:
        return f"The training part has labels of {len(learnable)} class, and two are needed."
    if not len(tested):
        return "No test picture has a label that the training part knows."
    return Task(
        train,
        tested,
        np.searchsorted(learnable, labels[train]),
        np.searchsorted(learnable, labels[tested]),
        groups[train],
        groups[tested],
        tuple(classes[number] for number in learnable),
        tuple(_notes(labels, test, classes)),
    )


def _notes(labels: Int[np.ndarray, "N"], test: Bool[np.ndarray, "N"], classes: Sequence[str]) -> list[str]:
    notes = []
    total = np.bincount(labels[labels >= 0], minlength=len(classes))
    known = np.bincount(labels[(labels >= 0) & ~test], minlength=len(classes))
    single, unseen = np.flatnonzero(total == 1), np.flatnonzero((total > 0) & (known == 0))
    if len(single):
        notes.append(f"Classes with a single picture: {listed(single, classes)}.")
    if len(unseen):
        count = int(total[unseen].sum())
        notes.append(f"Left out, for no training picture shows them: {listed(unseen, classes)} ({count} pictures).")
    if (labels < 0).any():
        notes.append(f"Left out, for they have no label: {int((labels < 0).sum())} of {len(labels)} pictures.")
    return notes


def listed(numbers: Int[np.ndarray, "K"], classes: Sequence[str]) -> str:
    names = ", ".join(repr(classes[number]) for number in numbers[:NAMED])
    return names + (f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else "")
