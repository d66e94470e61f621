"""What is found in vectors without labels: clusters, pictures that are nearly the same, pictures like no other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from selfsight.clusters import kmeans
from selfsight.data.order import Purpose, keyed
from selfsight.neighbours import nearest, unit

__all__ = ["clusters", "count", "duplicates", "likeness", "near", "outliers", "told"]

FITTED = 20_000  # pictures that the centres are found from; the others join the nearest
ITERATIONS = 30
MOST, LABELS = 24, 60  # clusters, without labels and with
SHOWN = 8  # pictures of a cluster
NEAREST = 10  # that a picture is compared with
SAME = 0.98  # cosine from which two pictures are nearly the same
ODD, MOST_GROUPS = 60, 500  # outliers and groups of duplicates that are shown

Vectors = Float[np.ndarray, "N D"]


def count(pictures: int, classes: int) -> int:
    """How many clusters: one for each class where there are classes, else sqrt(N / 2) up to 24."""
    wanted = min(classes, LABELS) if classes > 1 else min(MOST, round(math.sqrt(pictures / 2)))
    return max(1, min(wanted, pictures))


def clusters(vectors: Vectors, number: int) -> Int[np.ndarray, "N"]:
    """The cluster of each picture by k-means on unit vectors, the largest cluster first; float32 in, int32 out."""
    if not len(vectors):
        return np.zeros(0, np.int32)
    some = np.sort(keyed(0, 0, Purpose.ORDER).permutation(len(vectors))[:FITTED])
    rows = torch.from_numpy(unit(np.asarray(vectors[some])))
    generator = torch.Generator().manual_seed(0)
    centres = kmeans.spread(rows, number, generator)
    centres, _ = kmeans.kmeans(rows, centres, iterations=ITERATIONS, generator=generator)
    every = torch.from_numpy(unit(np.asarray(vectors)))
    found = kmeans.nearest(every, centres).numpy()
    sizes = np.bincount(found, minlength=number)
    rank = np.empty(number, np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(number)
    return np.asarray(rank[found])


def told(vectors: Vectors, own: Int[np.ndarray, "N"], labels: Sequence[str | None]) -> list[dict[str, Any]]:
    """Of each cluster: its size, the commonest label and its share of the labelled, and those nearest to its centre."""
    facts = []
    for number in range(int(own.max(initial=-1)) + 1):
        members = np.flatnonzero(own == number)
        rows = unit(np.asarray(vectors[members]))
        nearest = members[np.argsort(-(rows @ rows.mean(axis=0)), kind="stable")[:SHOWN]]
        known = Counter(label for member in members.tolist() if (label := labels[member]) is not None)
        commonest = known.most_common(1)
        most = {"label": commonest[0][0], "share": commonest[0][1] / known.total()} if commonest else None
        facts.append({"size": len(members), "most": most, "examples": nearest.tolist()})
    return facts


def near(vectors: Vectors) -> Float[np.ndarray, "2 N K"]:
    """Cosines, and places, of the ten nearest of each picture (fewer where there are not so many)."""
    k = min(NEAREST, len(vectors) - 1)
    if k < 1:
        return np.zeros((2, len(vectors), 0))
    return np.stack(nearest(np.asarray(vectors), np.asarray(vectors), k, exclude_self=True))


def likeness(graph: Float[np.ndarray, "2 N K"]) -> Float[np.ndarray, "N"]:
    """The mean cosine of each picture to its nearest; NaN for a picture that is alone."""
    scores = graph[0]
    return scores.mean(axis=1) if scores.shape[1] else np.full(len(scores), np.nan)


def outliers(graph: Float[np.ndarray, "2 N K"]) -> list[dict[str, Any]]:
    """The pictures that are least like any other, the least first."""
    alike = likeness(graph)
    order = np.argsort(alike, kind="stable")[: ODD if graph.shape[2] else 0]
    return [{"id": one, "score": round(float(alike[one]), 4)} for one in order.tolist()]


def duplicates(graph: Float[np.ndarray, "2 N K"]) -> list[dict[str, Any]]:
    """Groups of pictures that are joined by cosines of SAME and more, with the least of these; the closest first."""
    scores, places = graph[0], graph[1].astype(np.int64)
    one, column = np.nonzero(scores >= SAME)
    pairs = coo_matrix((np.ones(len(one)), (one, places[one, column])), (len(scores), len(scores)))
    group = connected_components(pairs, directed=False)[1]
    least = np.ones(len(scores))
    np.minimum.at(least, group[one], scores[one, column])
    members = [np.flatnonzero(group == number) for number in np.unique(group[one])]
    members.sort(key=lambda ids: -least[group[ids[0]]])
    return [{"ids": ids.tolist(), "score": round(float(least[group[ids[0]]]), 4)} for ids in members[:MOST_GROUPS]]
