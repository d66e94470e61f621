"""Weighted k-nearest-neighbour accuracy (Wu et al. 2018, 1805.01978, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.evaluation import holdout
from selfsight.neighbours import nearest

NEIGHBOURS = (1, 5, 20, 200)
TEMPERATURES = (0.07, 0.1, 0.2)
PAPERS = ((200, 0.1), (20, 0.07))  # (k, T): the MoCo CIFAR notebook and lightly; DINO
FIRST_CHOICE = (20, 0.07)  # where nothing can be held out to choose on
HELD_OUT = 0.2  # of the training part, to choose k and T on: a fifth, or `ASKED` pictures
ASKED = 2000
HOLD_OUTS = 5  # one alone chooses by luck: on emoji by MoCo, five draws of one fifth ended between 0.525 and 0.567


@dataclass(frozen=True)
class Knn:
    """One measurement: what was right at each test picture, and the k and T that were chosen without looking at it."""

    predictions: Int[np.ndarray, "Q"]
    correct: Bool[np.ndarray, "Q"]
    k: int
    temperature: float
    confidence: Float[np.ndarray, "Q"]  # share of the votes that the class named had
    nearest: Float[np.ndarray, "Q"]  # cosine of the nearest training picture
    papers: dict[tuple[int, float], Bool[np.ndarray, "Q"]]  # correctness at the papers' fixed (k, T)

    @property
    def accuracy(self) -> float:
        """Share of test pictures named rightly, [0, 1]."""
        return float(self.correct.mean())


def votes(
    scores: Float[np.ndarray, "Q K"], labels: Int[np.ndarray, "Q K"], temperature: float, classes: int
) -> Float[np.ndarray, "Q C"]:
    """Sum of exp(s / T) over the neighbours of each class, float64. The largest wins; on a tie the lowest class."""
    cells = np.arange(len(scores))[:, None] * classes + labels
    weights = np.exp(scores.astype(np.float64) / temperature)
    return np.bincount(cells.ravel(), weights.ravel(), minlength=len(scores) * classes).reshape(-1, classes)


def predict(
    gallery: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    queries: Float[np.ndarray, "Q D"],
    *,
    k: int,
    temperature: float,
) -> Int[np.ndarray, "Q"]:
    """The class of each query. k is lowered to N where the gallery is smaller."""
    scores, indices = nearest(queries, gallery, min(k, len(gallery)))
    return np.asarray(votes(scores, labels[indices], temperature, int(labels.max()) + 1).argmax(axis=1))


def choose(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"], seed: int = 0
) -> tuple[int, float]:
    """k and T by accuracy on five parts held out, k <= N / 5; on a tie the smaller k, then the lower T."""
    share = min(HELD_OUT, ASKED / len(labels))
    parts = [holdout.by_group(groups, share, seed + number) for number in range(HOLD_OUTS)]
    if not parts[0].any():
        return min(FIRST_CHOICE[0], max(1, len(labels) // 5)), FIRST_CHOICE[1]
    most = min(max(1, len(labels) // 5), *(int((~aside).sum()) for aside in parts))
    allowed = [k for k in NEIGHBOURS if k <= most]
    right, classes = np.zeros((len(allowed), len(TEMPERATURES))), int(labels.max()) + 1
    for aside in parts:
        known, asked = labels[~aside], labels[aside]
        scores, indices = nearest(features[aside], features[~aside], max(allowed))
        for (row, k), (column, temperature) in product(enumerate(allowed), enumerate(TEMPERATURES)):
            guesses = votes(scores[:, :k], known[indices[:, :k]], temperature, classes).argmax(axis=1)
            right[row, column] += (guesses == asked).sum()
    row, column = divmod(int(right.argmax()), len(TEMPERATURES))
    return allowed[row], TEMPERATURES[column]


def measure(
    train: Float[np.ndarray, "N D"],
    train_labels: Int[np.ndarray, "N"],
    train_groups: Int[np.ndarray, "N"],
    test: Float[np.ndarray, "Q D"],
    test_labels: Int[np.ndarray, "Q"],
    seed: int = 0,
) -> Knn:
    """Choose k and T inside the training part, then name every test picture by the whole of it.

    Labels are 0 .. C-1, none missing. The papers' k is lowered to N where the training part is smaller.
    """
    chosen = choose(train, train_labels, train_groups, seed)
    pairs = [(min(k, len(train)), temperature) for k, temperature in (chosen, *PAPERS)]
    scores, indices = nearest(test, train, max(k for k, _ in pairs))
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    ballots = [votes(scores[:, :k], train_labels[indices[:, :k]], t, classes) for k, t in pairs]
    named = [ballot.argmax(axis=1) for ballot in ballots]
    papers = {pair: guesses == test_labels for pair, guesses in zip(pairs[1:], named[1:], strict=True)}
    confidence = ballots[0].max(axis=1) / ballots[0].sum(axis=1)
    return Knn(named[0], named[0] == test_labels, *chosen, confidence, scores[:, 0], papers)
