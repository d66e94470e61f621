"""The monitor's one number, cheap enough to take while training: it looks at training pictures only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.evaluation import holdout, knn, retrieval
from selfsight.neighbours import unit

PICTURES = 2000  # at most
K, TEMPERATURE = 20, 0.1  # k = 20 is DINO's best, T = 0.1 lightly's; fixed, so that a curve compares like with like
HELD_OUT = 0.2


def by_labels(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"]
) -> float | None:
    """kNN accuracy of a fifth of the labelled rows (whole groups) by the rest, k = min(20, n / 5), T = 0.1.

    Rows are the monitor's at most 2,000 training pictures, the same ones each time; unlabelled rows (-1) take no part.
    None when there are no two classes or nothing can be held out.
    """
    rows = np.flatnonzero(labels >= 0)[:PICTURES]
    if len(np.unique(labels[rows])) < 2:
        return None
    aside = holdout.by_group(groups[rows], HELD_OUT)
    if not aside.any():
        return None
    known, asked = rows[~aside], rows[aside]
    k = max(1, min(K, len(rows) // 5))
    named = knn.predict(features[known], labels[known], features[asked], k=k, temperature=TEMPERATURE)
    return float((named == labels[asked]).mean())


def by_views(first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]) -> float:
    """R@1 of two views of the monitor's at most 2,000 training pictures, where there are no labels."""
    return float(retrieval.two_views(first[:PICTURES], second[:PICTURES]).mean())


def by_others(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"]
) -> Bool[np.ndarray, "N"]:
    """Whether each row is named rightly by its nearest rows of other groups, k = min(20, N / 5), T = 0.1; all have
    labels. Memory is O(N^2), for the monitor's few pictures."""
    rows = unit(features)
    cosines = np.where(groups[:, None] == groups, -np.inf, rows @ rows.T)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : max(1, min(K, len(rows) // 5))]
    scores = np.take_along_axis(cosines, nearest, axis=1)
    ballots = knn.votes(scores, labels[nearest], TEMPERATURE, int(labels.max()) + 1)
    return np.asarray((ballots.argmax(axis=1) == labels) & np.isfinite(scores[:, 0]))
