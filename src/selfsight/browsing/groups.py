"""Clusters of pictures, found in their vectors without labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from selfsight.clusters import kmeans
from selfsight.data.order import Purpose, keyed
from selfsight.neighbours import unit

__all__ = ["clusters", "count", "told"]

FITTED = 20_000  # pictures that the centres are found from; the others join the nearest
ITERATIONS = 30
BLOCK = 16384  # rows at a time
MOST, LABELS = 24, 60  # clusters, without labels and with
SHOWN = 8  # pictures of a cluster

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
    parts = (unit(np.asarray(vectors[start : start + BLOCK])) for start in range(0, len(vectors), BLOCK))
    found = np.concatenate([kmeans.nearest(torch.from_numpy(part), centres).numpy() for part in parts])
    sizes = np.bincount(found, minlength=number)
    rank = np.empty(number, np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(number)
    return np.asarray(rank[found])


def told(vectors: Vectors, own: Int[np.ndarray, "N"]) -> list[dict[str, Any]]:
    """Of each cluster: its size, and those nearest to its centre."""
    facts = []
    for number in range(int(own.max(initial=-1)) + 1):
        members = np.flatnonzero(own == number)
        rows = unit(np.asarray(vectors[members]))
        nearest = members[np.argsort(-(rows @ rows.mean(axis=0)), kind="stable")[:SHOWN]]
        facts.append({"size": len(members), "examples": nearest.tolist()})
    return facts
