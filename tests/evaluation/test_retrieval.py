"""Retrieval: the check value, a slow twin in loops, pytorch-metric-learning, and one identity across vendors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from selfsight.evaluation import retrieval

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["retrieval"]


def cloud(count: int = 200, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy classes of different sizes."""
    generator = np.random.default_rng(seed)
    labels = np.minimum(generator.geometric(0.35, count) - 1, classes - 1)
    return (generator.normal(size=(classes, 8))[labels] + generator.normal(size=(count, 8))), labels


def test_check_value() -> None:
    given, expected = CHECK["inputs"], CHECK["expected"]
    found = retrieval.measure(np.array(given["embeddings"]), np.array(given["labels"]))
    assert found.hits[1].mean() == expected["R_at_1"]
    assert found.precision.mean() == expected["R_precision"]
    assert found.average.mean() == expected["mAP_at_R"]
    assert (len(found.queries), found.skipped) == (expected["queries"], 1)


def test_toy_ranking() -> None:
    """Along a circle; the query comes first."""
    toy, angles = CHECK["toy"], np.deg2rad([0, 10, 20, 30, 40])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    right = np.array([1, *toy["relevance of the ranked list"]])
    assert right.sum() - 1 == toy["R"]
    found = retrieval.measure(features, np.where(right, 0, np.arange(1, 6)))
    assert found.precision[0] == toy["R_precision"]
    assert found.average[0] == toy["mAP_at_R"]


def twin(features: np.ndarray, labels: np.ndarray, across: np.ndarray | None) -> dict[int, list[float]]:
    """R@1, R@5, R@10, R-precision and AP@R of each query, in loops."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    table: dict[int, list[float]] = {}
    for query in range(len(rows)):
        others = [
            o
            for o in range(len(rows))
            if labels[o] >= 0 and o != query and (across is None or across[o] != across[query])
        ]
        right = sum(labels[o] == labels[query] for o in others)
        if labels[query] < 0 or not right:
            continue
        others.sort(key=lambda o: (-float(rows[query] @ rows[o]), o))
        hits = [labels[o] == labels[query] for o in others]
        average = sum(sum(hits[: i + 1]) / (i + 1) for i in range(right) if i < len(hits) and hits[i]) / right
        table[query] = [*(float(any(hits[:k])) for k in (1, 5, 10)), sum(hits[:right]) / right, average]
    return table


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("block", [2**23, 64])
def test_a_slow_twin(apart: bool, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", block)
    features, labels = cloud(90)
    labels[::11] = -1
    across = np.arange(90) % 3 if apart else None
    found, expected = retrieval.measure(features, labels, across), twin(features, labels, across)
    assert found.queries.tolist() == list(expected)
    assert found.skipped == (labels >= 0).sum() - len(expected)
    own = np.stack([*found.hits.values(), found.precision, found.average], axis=1)
    np.testing.assert_allclose(own, np.array(list(expected.values())), rtol=1e-12)


def test_agrees_with_pytorch_metric_learning() -> None:
    features, labels = cloud(400)
    wanted = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    peer = AccuracyCalculator(include=wanted, k="max_bin_count", knn_func=CustomKNN(CosineSimilarity()))
    expected = peer.get_accuracy(torch.from_numpy(features), torch.from_numpy(labels))
    found = retrieval.measure(features, labels)
    assert found.hits[1].mean() == pytest.approx(expected["precision_at_1"], abs=1e-12)
    assert found.average.mean() == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-12)
    assert found.precision.mean() == pytest.approx(expected["r_precision"], abs=1e-12)


def test_invariants() -> None:
    features, labels = cloud()
    found = retrieval.measure(features, labels)
    assert (found.average <= found.precision + 1e-12).all()
    assert (found.hits[1] <= found.hits[5]).all()
    perfect = retrieval.measure(np.eye(8)[labels] + 0.001 * features, labels)
    assert perfect.average.min() == perfect.precision.min() == 1
    chance = retrieval.measure(np.random.default_rng(1).normal(size=(2000, 8)), np.arange(2000) % 10)
    assert chance.hits[1].mean() == pytest.approx(0.1, abs=0.03)
    assert chance.precision.mean() == pytest.approx(0.1, abs=0.01)


def test_copies_of_the_query_are_answers_and_itself_is_none() -> None:
    """Twelve equal rows, more than are looked at: by index, without the query."""
    found = retrieval.measure(np.ones((12, 3)), np.array([0, 1] * 6), depths=(1,))
    assert found.hits[1].tolist() == [False, False] + [True, False] * 5


def test_two_views() -> None:
    first = np.random.default_rng(0).normal(size=(5, 8))
    assert retrieval.two_views(first, first + 0.1).all()
    assert retrieval.two_views(first, first[[1, 0, 2, 3, 4]]).tolist() == [False, False, True, True, True]


def test_across_searches_other_vendors_only() -> None:
    thing = np.array([0, 1, 2, 0, 1, 3])
    vendor = np.array([0, 0, 0, 1, 1, 1])
    found = retrieval.measure(np.eye(4)[thing], thing, vendor)
    assert found.queries.tolist() == [0, 1, 3, 4]  # 2 and 3 have no counterpart
    assert found.hits[1].all()


def test_unlabelled_rows_and_one_vendor() -> None:
    features = np.eye(4)[[0, 0, 0, 1]]
    found = retrieval.measure(features, np.array([0, -1, 0, -1]))
    assert found.queries.tolist() == [0, 2]
    assert found.hits[1].all()
    assert len(retrieval.measure(features, np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64)).queries) == 0
    assert len(retrieval.measure(features, np.full(4, -1)).queries) == 0
