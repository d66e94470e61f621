"""The monitor's one number, cheap enough to take while training: it looks at training pictures only."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from selfsight.evaluation import knn, retrieval
from selfsight.neighbours import largest, unit

PICTURES = 2000  # at most
K, TEMPERATURE = 20, 0.1  # k = 20 is DINO's best, T = 0.1 lightly's; fixed, so that a curve compares like with like


def by_labels(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"]
) -> float | None:
    """kNN accuracy of each labelled row by those of other groups, k = min(20, n / 5), T = 0.1.

    Rows are the monitor's at most 2,000 training pictures, the same ones each time; unlabelled rows (-1) take no part.
    None when there are no two classes or no two groups.
    """
    rows = np.flatnonzero(labels >= 0)[:PICTURES]
    if min(len(np.unique(labels[rows])), len(np.unique(groups[rows]))) < 2:
        return None
    return float(by_others(features[rows], labels[rows], groups[rows]).mean())


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
    scores, nearest = (part.numpy() for part in largest(torch.from_numpy(cosines), max(1, min(K, len(rows) // 5))))
    ballots = knn.votes(scores, labels[nearest], TEMPERATURE, int(labels.max()) + 1)
    return np.asarray((ballots.argmax(axis=1) == labels) & np.isfinite(scores[:, 0]))
