"""Accuracy with few labels: n training pictures per class, drawn again and again, each class named by its mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from selfsight.neighbours import unit

DRAWS = 20  # of the labelled pictures; the draws are the same for every row of a table


@dataclass(frozen=True)
class Few:
    """One measurement with `shots` labels per class."""

    shots: int
    right: Float[np.ndarray, "Q"]  # share of the draws in which each test picture was named rightly
    draws: Float[np.ndarray, "R"]  # accuracy of each draw

    @property
    def accuracy(self) -> float:
        """Mean over draws and test pictures, [0, 1]."""
        return float(self.right.mean())


def drawn(
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    shots: int | Int[np.ndarray, "C"],
    generator: np.random.Generator,
) -> Int[np.ndarray, "S"]:
    """Rows of at most `shots` pictures per class (or of each class its own), from as many different groups as there are
    (sorted).

    A person who labels five pictures does not label five crops of one: a group gives its second picture only when
    every group of the class has given its first.
    """
    order = generator.permutation(len(labels))
    by_class_and_group = np.lexsort((np.arange(len(order)), groups[order], labels[order]))
    rows = order[by_class_and_group]
    turn = _position(np.stack([labels[rows], groups[rows]]))  # the how-manieth picture of its group
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    rows = rows[np.lexsort((rank[rows], turn, labels[rows]))]
    wanted = shots if isinstance(shots, int) else shots[labels[rows]]
    return np.sort(rows[_position(labels[rows][None]) < wanted])


def _position(keys: Int[np.ndarray, "F N"]) -> Int[np.ndarray, "N"]:
    """Position of each column within its run of equal columns."""
    new = np.ones(keys.shape[1], dtype=bool)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    starts = np.flatnonzero(new)
    return np.asarray(np.arange(keys.shape[1]) - starts[np.cumsum(new) - 1])


def measure(
    train: Float[np.ndarray, "N D"],
    train_labels: Int[np.ndarray, "N"],
    train_groups: Int[np.ndarray, "N"],
    test: Float[np.ndarray, "Q D"],
    test_labels: Int[np.ndarray, "Q"],
    *,
    shots: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> Few:
    """Name each test picture by the nearest class mean of unit rows (Snell et al. 2017, 1703.05175, by cosine).

    Labels are 0 .. C-1, none missing; a class with fewer than `shots` training pictures gives all it has.
    """
    known, asked = unit(train), unit(test)
    right = np.zeros((draws, len(asked)), dtype=bool)
    for number in range(draws):
        rows = drawn(train_labels, train_groups, shots, np.random.default_rng((seed, number)))
        classes, member = np.unique(train_labels[rows], return_inverse=True)
        means = np.zeros((len(classes), known.shape[1]), dtype=known.dtype)
        np.add.at(means, member, known[rows])
        right[number] = classes[(asked @ unit(means).T).argmax(axis=1)] == test_labels
    return Few(shots, right.mean(axis=0), right.mean(axis=1))
