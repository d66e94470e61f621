"""Clustering: do the groups that k-means finds agree with the classes?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.special import entr, gammaln, xlogy

from selfsight.clusters import kmeans
from selfsight.evaluation import intervals
from selfsight.neighbours import unit

RESTARTS, ITERATIONS = 10, 100
LARGE, ROUNDS = 5_000_000, 20  # pictures x clusters from which on there is one start, of so many iterations
RANGES = {"nmi": (0.0, 1.0), "ami": (-1.0, 1.0), "ari": (-1.0, 1.0)}


@dataclass(frozen=True)
class Clustering:
    """How well a clustering of N pictures agrees with their classes, each number with its 95 % interval."""

    clusters: int
    pictures: int
    values: Mapping[str, float]  # nmi, ami, ari, accuracy
    intervals: Mapping[str, intervals.Interval]


def measure(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"], seed: int = 0
) -> Clustering:
    """k-means on unit rows with as many clusters as there are classes, and its agreement with the labels (none -1)."""
    return agreement(clustered(features, len(np.unique(labels)), seed), labels, groups, seed)


def clustered(features: Float[np.ndarray, "N D"], count: int, seed: int = 0) -> Int[np.ndarray, "N"]:
    """Clusters of unit rows: Euclidean k-means from ten k-means++ starts, the run with the lowest inertia.

    Of many pictures in many clusters, which would take hours, from one start.
    """
    rows = torch.from_numpy(unit(features))
    best, found = np.inf, torch.zeros(0)
    starts, rounds = (1, ROUNDS) if len(rows) * count >= LARGE else (RESTARTS, ITERATIONS)
    for restart in range(starts):
        generator = torch.Generator().manual_seed(seed * RESTARTS + restart)
        first = kmeans.spread(rows, count, generator)
        centroids, assigned = kmeans.kmeans(rows, first, iterations=rounds, generator=generator)
        inertia = float((rows - centroids[assigned]).square().sum())
        if inertia < best:
            best, found = inertia, assigned
    return np.asarray(found.numpy())


def agreement(
    assigned: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"], groups: Int[np.ndarray, "N"], seed: int = 0
) -> Clustering:
    """NMI (arithmetic mean), AMI (likewise), ARI, and accuracy under the best one-to-one map of clusters to classes.

    Intervals are of the agreement over resampled groups of pictures: the clustering, the map and the NMI expected by
    chance stay as they are. A resample holds copies, and a picture and its copy always agree; so the mean of the
    resamples is brought back to the value itself (Efron & Tibshirani 1993, chapter 10).
    """
    _, rows = np.unique(assigned, return_inverse=True)
    _, columns = np.unique(labels, return_inverse=True)
    names, member, sizes = np.unique(np.stack([rows, columns]), axis=1, return_inverse=True, return_counts=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    table[tuple(names)] = sizes
    chance = by_chance(table.sum(axis=1), table.sum(axis=0))
    values = {name: float(one[0]) for name, one in scores(sizes[None], names, chance).items()}
    mapped = np.full(len(table), -1)
    clusters, classes = linear_sum_assignment(table, maximize=True)
    mapped[clusters] = classes
    right = mapped[rows] == columns
    values["accuracy"] = float(right.mean())
    spans = _intervals(values, member.ravel(), names, chance, groups, seed)
    spans["accuracy"] = intervals.of_share(right, groups, seed=seed)
    return Clustering(table.shape[1], len(labels), values, spans)


def scores(
    counts: Float[np.ndarray, "R M"] | Int[np.ndarray, "R M"], cells: Int[np.ndarray, "2 M"], chance: float
) -> dict[str, Float[np.ndarray, "R"]]:
    """NMI, AMI and ARI of R contingency tables; `cells` are the clusters and classes of M places that are not empty.

    `chance` is the NMI expected of partitions of these sizes; AMI is what lies above it, and 1 where nothing can. Where
    clusters and classes are both one, they are the same: NMI 1.
    """
    counts = counts.astype(np.float64)
    total = counts.sum(axis=1)
    sums = [counts, *(counts @ csr_array((np.ones(len(c)), (np.arange(len(c)), c))) for c in cells)]
    joint, first, second = (xlogy(one, one).sum(axis=1) for one in sums)
    entropies = 2 * np.log(total) - (first + second) / total  # of both together
    mutual = np.log(total) + (joint - first - second) / total
    alike = entropies < 1e-12
    nmi = np.where(alike, 1.0, 2 * np.maximum(mutual, 0.0) / np.where(alike, 1.0, entropies))
    ami = (nmi - chance) / (1 - chance) if chance < 1 - 1e-12 else np.ones_like(nmi)
    together, one, other = ((one * (one - 1) / 2).sum(axis=1) for one in sums)
    usual = one * other / np.maximum(total * (total - 1) / 2, 1.0)
    gap = (one + other) / 2 - usual
    ari = np.where(gap == 0, 1.0, (together - usual) / np.where(gap == 0, 1.0, gap))  # Hubert & Arabie 1985, eq. 5
    return {"nmi": nmi, "ami": ami, "ari": ari}


def by_chance(first: Int[np.ndarray, "K"], second: Int[np.ndarray, "C"]) -> float:
    """NMI expected of two partitions with these sizes, drawn at random; 0 where both are one."""
    entropy = float(sum(entr(sizes / sizes.sum()).sum() for sizes in (first, second))) / 2
    return expected(first, second) / entropy if entropy > 0 else 0.0


def expected(first: Int[np.ndarray, "K"], second: Int[np.ndarray, "C"]) -> float:
    """Mutual information expected of two partitions with these sizes, drawn at random (Vinh et al. 2010, eq. 24a)."""
    count = int(first.sum())
    total = 0.0
    for one, ones in zip(*np.unique(first, return_counts=True), strict=True):
        for other, others in zip(*np.unique(second, return_counts=True), strict=True):
            shared = np.arange(max(1, one + other - count), min(one, other) + 1)
            rest = (shared, one - shared, other - shared, count - one - other + shared)
            chance = sum(gammaln(size + 1) for size in (one, other, count - one, count - other)) - gammaln(count + 1)
            weight = np.exp(chance - sum(gammaln(size + 1) for size in rest))
            total += ones * others * float((weight * shared / count * np.log(count * shared / (one * other))).sum())
    return total


def _intervals(
    values: Mapping[str, float],
    member: Int[np.ndarray, "N"],
    cells: Int[np.ndarray, "2 M"],
    chance: float,
    groups: Int[np.ndarray, "N"],
    seed: int,
) -> dict[str, intervals.Interval]:
    """Of NMI, AMI and ARI."""
    names, group = np.unique(groups, return_inverse=True)
    shares = csr_array((np.ones(len(member)), (group, member)), shape=(len(names), cells.shape[1]))
    parts = [scores(weights @ shares, cells, chance) for weights in intervals.drawn(len(names), seed=seed)]
    spans = {}
    for name, (least, most) in RANGES.items():
        drawn = np.concatenate([part[name] for part in parts])
        low, high = intervals.of_resampled(drawn - drawn.mean() + values[name], len(names), (least, most))
        spans[name] = (max(least, low), min(most, high))
    return spans
