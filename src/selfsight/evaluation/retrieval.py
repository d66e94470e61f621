"""Retrieval: are the pictures nearest to one those that show the same?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.neighbours import nearest

DEPTHS = (1, 5, 10)  # k of R@k
BLOCK = 2**23  # neighbours held at once: 96 MiB of scores and indices


@dataclass(frozen=True)
class Retrieval:
    """One row's answers to Q queries, in the order of their rows. Queries without any right answer are not asked."""

    queries: Int[np.ndarray, "Q"]  # rows
    skipped: int  # rows with a label that were not asked
    hits: dict[int, Bool[np.ndarray, "Q"]]  # R@k: a right one is among the first k
    precision: Float[np.ndarray, "Q"]  # R-precision: share of right ones among the first R
    average: Float[np.ndarray, "Q"]  # AP@R, whose mean is mAP@R


def two_views(first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]) -> Bool[np.ndarray, "N"]:
    """Whether a picture's second view is the nearest of all second views to its first one. Chance is 1 / N."""
    _, indices = nearest(first, second, 1)
    return np.asarray(indices[:, 0] == np.arange(len(first)))


def measure(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    across: Int[np.ndarray, "N"] | None = None,
    depths: Sequence[int] = DEPTHS,
) -> Retrieval:
    """Search each row among all others by cosine; right are those with its label, R of them. Ties: the lower row first.

    R@k: one of the first k is right. R-precision: right ones among the first R, over R. mAP@R: mean over queries of
    (1 / R) * sum of the precision at i over the right places i <= R (Musgrave et al. 2020, arXiv 2003.08505, section
    3.2). With `across` (a vendor, a camera) only rows of another value are searched. Unlabelled rows (-1) take no part.
    Memory is O(N) for each of a block of queries.
    """
    rows = np.flatnonzero(labels >= 0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("queries", "precision", "average", *map(str, depths))}
    for queries, gallery, right in _searches(rows, labels, across):
        for part in _blocks(right, max(depths)):
            relevant = _ranked(features, labels, queries[part], gallery, max(depths, default=1), right[part])
            count, place = right[part, None], np.arange(1, relevant.shape[1] + 1)
            counted = relevant & (place <= count)
            found["queries"].append(queries[part])
            found["precision"].append(counted.sum(axis=1) / right[part])
            found["average"].append((counted * relevant.cumsum(axis=1) / place).sum(axis=1) / right[part])
            for depth in depths:
                found[str(depth)].append(np.asarray(relevant[:, :depth].any(axis=1)))
    joined = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}
    asked = joined["queries"].astype(np.int64)
    order = np.argsort(asked)
    hits = {depth: joined[str(depth)][order].astype(bool) for depth in depths}
    return Retrieval(asked[order], len(rows) - len(asked), hits, joined["precision"][order], joined["average"][order])


def _searches(
    rows: Int[np.ndarray, "M"], labels: Int[np.ndarray, "N"], across: Int[np.ndarray, "N"] | None
) -> Iterator[tuple[Int[np.ndarray, "Q"], Int[np.ndarray, "G"], Int[np.ndarray, "Q"]]]:
    """Queries that have a right answer, the gallery they search, and how many are right; the most right ones last."""
    for value in [None] if across is None else np.unique(across[rows]):
        queries = rows if across is None else rows[across[rows] == value]
        gallery = rows if across is None else rows[across[rows] != value]
        right = np.bincount(labels[gallery], minlength=labels.max() + 1)[labels[queries]] - int(across is None)
        order = np.argsort(right, kind="stable")
        order = order[right[order] > 0]
        yield queries[order], gallery, right[order]


def _blocks(right: Int[np.ndarray, "Q"], least: int) -> Iterator[slice]:
    """Queries to search for together, so that their neighbours fit into memory."""
    start = 0
    while start < len(right):
        wide = np.maximum(right[start:], least) * np.arange(1, len(right) - start + 1)
        stop = start + max(1, int(np.searchsorted(wide, BLOCK)))
        yield slice(start, stop)
        start = stop


def _ranked(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    queries: Int[np.ndarray, "Q"],
    gallery: Int[np.ndarray, "G"],
    least: int,
    right: Int[np.ndarray, "Q"],
) -> Bool[np.ndarray, "Q K"]:
    """Whether the first K of the gallery are right, best first, without the query itself; K is `least` or more."""
    within = len(np.intersect1d(queries[:1], gallery, assume_unique=True))  # 1 where queries search among themselves
    depth = min(max(least, int(right.max())), len(gallery) - within)
    _, indices = nearest(features[queries], features[gallery], depth + within)
    found = gallery[indices]
    kept = found != queries[:, None]
    kept[kept.all(axis=1), depth:] = False  # where copies of the query come before it, it is not among the first
    return np.asarray((labels[found] == labels[queries, None])[kept].reshape(len(queries), depth))
