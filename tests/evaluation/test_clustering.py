"""Clustering: the check value, scikit-learn on random partitions, the degenerate ones, and intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans

from selfsight.evaluation import clustering, intervals

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["clustering"]


def values(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    return dict(clustering.agreement(first, second, np.arange(len(first))).values)


def test_check_value() -> None:
    given, expected = CHECK["inputs"], CHECK["expected"]
    found = values(np.array(given["pred"]), np.array(given["true"]))
    assert found["nmi"] == pytest.approx(expected["NMI"], abs=1e-12)
    assert found["ari"] == pytest.approx(expected["ARI"], abs=1e-12)
    assert found["accuracy"] == expected["ACC"]


@pytest.mark.parametrize(("clusters", "classes", "signal"), [(2, 2, 0.5), (6, 6, 0.7), (9, 4, 0.3), (60, 50, 0.5)])
def test_agrees_with_scikit_learn(clusters: int, classes: int, signal: float) -> None:
    generator = np.random.default_rng(clusters)
    labels = generator.integers(0, classes, 240)
    assigned = np.where(generator.random(240) < signal, labels % clusters, generator.integers(0, clusters, 240))
    found = values(assigned, labels)
    assert found["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(labels, assigned), abs=1e-12)
    assert found["ami"] == pytest.approx(metrics.adjusted_mutual_info_score(labels, assigned), abs=1e-9)
    assert found["ari"] == pytest.approx(metrics.adjusted_rand_score(labels, assigned), abs=1e-12)
    assert values(generator.permutation(clusters)[assigned], labels) == pytest.approx(found)


def test_degenerate() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    one = values(np.zeros(5, dtype=int), labels)
    assert (one["nmi"], one["ari"], one["accuracy"]) == (pytest.approx(0, abs=1e-12), 0, 0.6)
    assert set(values(labels, labels).values()) == {1.0}
    assert values(np.zeros(5, dtype=int), np.zeros(5, dtype=int))["nmi"] == 1  # both are one cluster


def test_kmeans_is_as_good_as_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    rows = (np.eye(12)[np.arange(300) % 12] + 0.35 * generator.normal(size=(300, 12))).astype(np.float32)
    near = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def inertia(assigned: np.ndarray) -> float:
        return float(sum(((near[assigned == k] - near[assigned == k].mean(axis=0)) ** 2).sum() for k in range(12)))

    peer = KMeans(12, n_init=10, random_state=0).fit(near)
    found = clustering.clustered(rows, 12)
    assert inertia(found) <= 1.01 * float(peer.inertia_)
    assert (found == clustering.clustered(3 * rows, 12)).all()


def test_intervals_hold_the_value_and_widen_with_groups() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 5
    assigned = np.where(generator.random(400) < 0.6, labels, generator.integers(0, 5, 400))
    single = clustering.agreement(assigned, labels, np.arange(400))
    grouped = clustering.agreement(assigned, labels, np.arange(400) // 20)
    for name, value in single.values.items():
        low, high = single.intervals[name]
        assert low < value < high
        assert high - low < 0.15
    assert grouped.values == single.values
    assert clustering.agreement(assigned, labels, np.zeros(400)).intervals["nmi"] == (0, 1)


def test_copies_in_a_resample_raise_no_interval() -> None:
    """Two pictures a class: an interval of plain percentiles would lie above the value."""
    generator = np.random.default_rng(0)
    labels = np.arange(200) // 2
    found = clustering.agreement(generator.integers(0, 100, 200), labels, np.arange(200))
    for name in ("nmi", "ami", "ari"):
        low, high = found.intervals[name]
        assert low <= found.values[name] <= high


def test_what_lies_above_chance_is_known_where_little_can() -> None:
    """Most classes have one picture. A resample of them leaves less than chance has in all of them."""
    labels = np.concatenate([np.arange(100), 100 + np.arange(100) // 2])
    alike = clustering.agreement(labels, labels, np.arange(200))
    assert alike.values["ami"] == 1
    assert alike.intervals["ami"] == pytest.approx((0.963, 1), abs=0.001)  # Clopper-Pearson, 200 of 200, twice as wide
    generator = np.random.default_rng(0)
    assigned = np.where(generator.random(200) < 0.7, labels, generator.permutation(labels))
    found = clustering.agreement(assigned, labels, np.arange(200))
    low, high = found.intervals["ami"]
    assert -1 <= low < found.values["ami"] < high <= 1
    assert high - low < 0.8


def test_an_interval_is_as_wide_as_with_the_chance_of_each_resample() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 30
    assigned = np.where(generator.random(300) < 0.6, labels, generator.integers(0, 30, 300))
    low, high = clustering.agreement(assigned, labels, np.arange(300)).intervals["ami"]
    times = np.concatenate(list(intervals.drawn(300, 100))).astype(int)
    slow = [metrics.adjusted_mutual_info_score(*(np.repeat(one, row) for one in (labels, assigned))) for row in times]
    assert high - low == pytest.approx(2 * 1.97 * np.std(slow), rel=0.25)
