"""k-means: its check value, slow twins in plain loops, scikit-learn and faiss from the same start, duplicates."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from selfsight.clusters import kmeans as module
from selfsight.clusters.kmeans import kmeans, nearest, spherical, split, start

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["kmeans_empty_cluster"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=seeded(seed))


def inertia(points: Tensor, centroids: Tensor, assignments: Tensor) -> float:
    return float((points - centroids[assignments]).square().sum())


def slow_twin(points: list[list[float]], centroids: list[list[float]], iterations: int, cosine: bool) -> tuple:
    """Lloyd in loops; an empty cluster keeps its centroid."""

    def closeness(x: list[float], c: list[float]) -> float:
        return sum(a * b if cosine else -((a - b) ** 2) for a, b in zip(x, c, strict=True))

    def assigned() -> list[int]:
        return [max(range(len(centroids)), key=lambda k: (closeness(x, centroids[k]), -k)) for x in points]

    for _ in range(iterations):
        found = assigned()
        for k in range(len(centroids)):
            members = [x for x, own in zip(points, found, strict=True) if own == k]
            if members:
                mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
                length = sum(a * a for a in mean) ** 0.5 if cosine else 1.0
                centroids = [*centroids[:k], [a / length for a in mean], *centroids[k + 1 :]]
    return centroids, assigned()


@pytest.mark.parametrize("iterations", [1, 4])
def test_slow_twins(iterations: int) -> None:
    points = rows(60, 5)
    first = start(points, 4, seeded(1))
    found = kmeans(points, first, iterations=iterations, generator=seeded(2))
    expected = slow_twin(points.tolist(), first.tolist(), iterations, cosine=False)
    assert found[1].tolist() == expected[1]
    torch.testing.assert_close(found[0], torch.tensor(expected[0], dtype=torch.float64))
    points = normalize(points)
    first = start(points, 4, seeded(1))
    found = spherical(points, first, iterations=iterations)
    expected = slow_twin(points.tolist(), first.tolist(), iterations, cosine=True)
    assert found[1].tolist() == expected[1]
    torch.testing.assert_close(found[0], torch.tensor(expected[0], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_ends_at_the_same_inertia_from_the_same_start(seed: int) -> None:
    points = rows(400, 6, seed)
    first = start(points, 8, seeded(seed))
    centroids, assignments = kmeans(points, first, iterations=100, generator=seeded(seed))
    oracle = KMeans(8, init=first.numpy(), n_init=1, max_iter=100, tol=0.0, algorithm="lloyd").fit(points.numpy())
    assert inertia(points, centroids, assignments) == pytest.approx(oracle.inertia_, rel=1e-12)
    assert assignments.tolist() == oracle.labels_.tolist()


def test_faiss_ends_at_the_same_inertia_from_the_same_start() -> None:
    with warnings.catch_warnings(action="ignore"):  # of its wrapper's types
        import faiss
    points = rows(2000, 16).float()
    first = start(points, 20, seeded(0))
    oracle = faiss.Kmeans(16, 20, niter=20, nredo=1, max_points_per_centroid=10**6)
    oracle.train(points.numpy(), init_centroids=first.numpy())
    centroids, assignments = kmeans(points, first, iterations=20, generator=seeded(0))
    np.testing.assert_allclose(centroids.numpy(), oracle.centroids, atol=1e-4)
    expected = float(oracle.index.search(points.numpy(), 1)[0].sum())
    assert inertia(points, centroids, assignments) == pytest.approx(expected, rel=1e-5)


def test_iterations_never_make_it_worse_and_generators_decide() -> None:
    points = rows(300, 4)
    first = start(points, 12, seeded(0))
    ends = [inertia(points, *kmeans(points, first, iterations=n, generator=seeded(0))) for n in range(12)]
    assert ends == sorted(ends, reverse=True)
    assert torch.equal(start(points, 12, seeded(0)), first)
    assert not torch.equal(start(points, 12, seeded(1)), first)
    assert len(torch.unique(first, dim=0)) == 12


@pytest.mark.parametrize("cosine", [False, True])
def test_memory_is_bounded_without_changing_anything(cosine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    points, centroids = normalize(rows(101, 8)), normalize(rows(7, 8, 1))
    whole = nearest(points, centroids, cosine=cosine)
    assert torch.equal(whole, torch.cdist(points, centroids).argmin(dim=1))
    for tile in (1, 7, 50):
        monkeypatch.setattr(module, "TILE", tile)
        assert torch.equal(nearest(points, centroids, cosine=cosine), whole)


def test_check_value_of_the_split() -> None:
    """The only cluster that can be taken is the one with more than one row."""
    centroid = torch.tensor(CHECK["inputs"]["centroid_j"], dtype=torch.float64)
    assert CHECK["inputs"]["eps"] == module.APART
    before = torch.stack([torch.full((4,), 9.0), centroid, torch.zeros(4)]).double()
    after = split(before, torch.tensor([1, 3, 0]), seeded(0))
    assert after[0].tolist() == [9.0] * 4
    assert after[1].tolist() == CHECK["expected"]["old"]
    assert after[2].tolist() == CHECK["expected"]["new"]


def test_large_clusters_are_split_in_proportion() -> None:
    """Going round from the first, cluster j is taken with chance (n_j - 1) / (N - K): here 3/9 and 5/9 a round."""
    counts = torch.tensor([4, 0, 1, 6, 1])
    taken = [split(torch.eye(5), counts, seeded(seed))[1].argmax().item() for seed in range(2000)]
    first, second = 3 / 7, 5 / 7  # N - K = 7
    expected = first / (1 - (1 - first) * (1 - second))  # cluster 0 is asked first in every round
    assert set(taken) == {0, 3}
    assert taken.count(0) / 2000 == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("clusters", [2, 7, 30])
def test_every_point_the_same(clusters: int) -> None:
    """Ends, with finite centroids and everybody in one cluster, also where there are as many clusters as points."""
    for value in (0.0, 1.0):
        points = torch.full((30, 3), value)
        centroids, assignments = kmeans(points, start(points, clusters, seeded(0)), iterations=5, generator=seeded(0))
        assert torch.isfinite(centroids).all()
        assert len(assignments.unique()) == 1
        centroids, assignments = spherical(
            normalize(points), start(normalize(points), clusters, seeded(0)), iterations=5
        )
        assert torch.isfinite(centroids).all()
        assert assignments.unique().tolist() == [0]


def test_duplicates_among_the_first_centroids_are_mended() -> None:
    """Ten different points, each ten times: whatever the start, no cluster stays empty where splitting can help."""
    points = rows(10, 3).repeat(10, 1)
    first = points[[0, 0, 0, 1, 2]]
    assignments = kmeans(points, first, iterations=20, generator=seeded(0))[1]
    assert assignments.unique().tolist() == [0, 1, 2, 3, 4]


def test_spherical_keeps_the_centroid_of_an_empty_cluster() -> None:
    points = normalize(rows(50, 3).abs())  # all in one octant
    far = torch.tensor([[-1.0, 0.0, 0.0]], dtype=torch.float64)
    centroids, assignments = spherical(points, torch.cat([points[:2], far]), iterations=10)
    assert torch.equal(centroids[2:], far)
    assert 2 not in assignments
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(3, dtype=torch.float64))
