"""k-means (Lloyd) with two rules for a cluster that nobody joins: split a large one, or keep the old centroid.

Tensors in, (centroids, assignments) out. The same rows, start and generator give the same result on a CPU. Memory
beyond the rows is O(TILE): distances are computed for a slice of the rows at a time.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["kmeans", "nearest", "spherical", "split", "spread", "start"]

TILE = 2**22  # distances in memory at once
APART = 1 / 1024  # how far the two halves of a split cluster move, relative; faiss

Clusters = tuple[Float[Tensor, "K D"], Int[Tensor, "N"]]


def start(rows: Float[Tensor, "N D"], count: int, generator: torch.Generator) -> Float[Tensor, "K D"]:
    """`count` different rows as first centroids, drawn on the CPU."""
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]


def spread(rows: Float[Tensor, "N D"], count: int, generator: torch.Generator) -> Float[Tensor, "K D"]:
    """`count` rows as first centroids, each drawn with a chance that grows with the squared distance to those before.

    k-means++ (Arthur & Vassilvitskii 2007, section 2.2); of 2 + log K draws for each the best is taken, as in
    scikit-learn.
    """
    squares = rows.square().sum(dim=1)
    apart = torch.full_like(squares, torch.inf)
    chance = torch.ones_like(squares)
    taken: list[int] = []
    for _ in range(count):
        reach = chance.cpu().double().cumsum(dim=0)  # Metal has no float64
        points = torch.rand(2 + int(math.log(count)), generator=generator, dtype=torch.float64) * reach[-1]
        drawn = torch.searchsorted(reach, points, right=True).clamp(max=len(rows) - 1).to(rows.device)
        distances = squares[:, None] - 2 * (rows @ rows[drawn].T) + squares[drawn]
        closer = torch.minimum(apart[:, None], distances.clamp(min=0))  # (N, draws)
        best = int(closer.sum(dim=0).argmin())
        taken.append(int(drawn[best]))
        apart = closer[:, best]
        chance = apart if bool(apart.any()) else torch.ones_like(apart)  # only copies of those taken are left
    return rows[taken]


def kmeans(
    rows: Float[Tensor, "N D"], centroids: Float[Tensor, "K D"], *, iterations: int, generator: torch.Generator
) -> Clusters:
    """Euclidean k-means from the given centroids; an empty cluster takes half of another (see `split`). Needs N >= K.

    The assignments are those to the centroids that are returned.
    """
    before: Tensor | None = None
    for _ in range(iterations):
        found = nearest(rows, centroids)
        means, counts = _means(rows, found, len(centroids))
        if before is not None and torch.equal(found, before) and counts.all():
            break  # another round would change nothing
        before = found
        centroids = split(means, counts, generator)
    return centroids, nearest(rows, centroids)


def spherical(rows: Float[Tensor, "N D"], centroids: Float[Tensor, "K D"], *, iterations: int) -> Clusters:
    """k-means by cosine; rows and centroids are unit vectors. An empty cluster keeps its centroid (DeepCluster-v2)."""
    for _ in range(iterations):
        means, counts = _means(rows, nearest(rows, centroids, cosine=True), len(centroids))
        centroids = torch.where(counts[:, None] > 0, normalize(means, dim=1, eps=1e-12), centroids)
    return centroids, nearest(rows, centroids, cosine=True)


def nearest(rows: Float[Tensor, "N D"], centroids: Float[Tensor, "K D"], *, cosine: bool = False) -> Int[Tensor, "N"]:
    """Each row's centroid by distance, or by dot product; the lower index where two are equally near."""
    offset = 0.0 if cosine else centroids.square().sum(dim=1) / 2  # |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2)
    parts = torch.split(rows, max(1, TILE // len(centroids)))
    return torch.cat([(part @ centroids.T - offset).argmax(dim=1) for part in parts])


def split(
    centroids: Float[Tensor, "K D"], counts: Int[Tensor, "K"], generator: torch.Generator
) -> Float[Tensor, "K D"]:
    """Fill each empty cluster with a copy of a populated one, and move the two apart (faiss).

    Cluster j is taken with chance (n_j - 1) / (N - K), going round from the first until one is; then its even
    coordinates shrink by 1/1024 and the copy's grow, the odd ones the other way round, and both count for a half.
    """
    centroids, sizes = centroids.clone(), counts.cpu().double()
    spare = max(float(sizes.sum()) - len(sizes), 1.0)
    factor = torch.full_like(centroids[0], 1 - APART)
    factor[::2] = 1 + APART
    for empty in torch.nonzero(sizes == 0).flatten().tolist():
        taken = torch.zeros(0)
        while not len(taken):
            drawn = torch.rand(len(sizes), generator=generator, dtype=torch.float64)
            taken = torch.nonzero(drawn < (sizes - 1) / spare).flatten()
        donor = int(taken[0])
        centroids[empty] = centroids[donor] * factor
        centroids[donor] *= 2 - factor
        sizes[donor] /= 2
        sizes[empty] = sizes[donor]
    return centroids


def _means(
    rows: Float[Tensor, "N D"], assignments: Int[Tensor, "N"], count: int
) -> tuple[Float[Tensor, "K D"], Int[Tensor, "K"]]:
    """Mean (zeros where there is none) and number of each cluster's rows."""
    sums = rows.new_zeros(count, rows.shape[1]).index_add_(0, assignments, rows)
    counts = torch.bincount(assignments, minlength=count)
    return sums / counts[:, None].clamp(min=1), counts
