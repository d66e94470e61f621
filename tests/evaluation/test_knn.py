"""Weighted kNN: the check value, and its invariants."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from selfsight.evaluation import holdout, knn
from selfsight.neighbours import nearest

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["knn_weighted"]


def cloud(seed: int, count: int, classes: int = 4, spread: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes around fixed centres."""
    centres = np.random.default_rng(99).normal(size=(classes, 8))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    return (centres[labels] + spread * generator.normal(size=(count, 8))).astype(np.float32), labels


def test_check_value() -> None:
    given = {name: np.array(values) for name, values in CHECK["inputs"].items()}
    scores, indices = nearest(given["test"], given["train"], CHECK["inputs"]["k"])
    sums = knn.votes(scores, given["labels"][indices], 0.1, 3)
    for number, expected in CHECK["expected"].items():
        assert indices[int(number)].tolist() == expected["neighbours"]
        np.testing.assert_allclose(sums[int(number)], expected["scores_T0.1"], rtol=1e-9)
    for temperature in (0.1, 0.07):
        named = knn.predict(given["train"], given["labels"], given["test"], k=4, temperature=temperature)
        assert named.tolist() == [e[f"pred_T{temperature}"] for e in CHECK["expected"].values()]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (5, 0.07), (20, 0.2)])
def test_agrees_with_scikit_learn(k: int, temperature: float) -> None:
    (train, labels), (test, _) = cloud(0, 300), cloud(1, 100)
    peer = KNeighborsClassifier(k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / temperature))
    expected = peer.fit(train.astype(np.float64), labels).predict(test.astype(np.float64))
    np.testing.assert_array_equal(knn.predict(train, labels, test, k=k, temperature=temperature), expected)


def test_one_neighbour_is_the_nearest_neighbour() -> None:
    (train, labels), (test, _) = cloud(0, 200), cloud(1, 50)
    _, indices = nearest(test, train, 1)
    np.testing.assert_array_equal(knn.predict(train, labels, test, k=1, temperature=0.1), labels[indices[:, 0]])


def test_duplicating_the_gallery_and_doubling_k_changes_nothing() -> None:
    (train, labels), (test, _) = cloud(0, 200), cloud(1, 50)
    twice = knn.predict(np.repeat(train, 2, 0), np.repeat(labels, 2), test, k=20, temperature=0.1)
    np.testing.assert_array_equal(twice, knn.predict(train, labels, test, k=10, temperature=0.1))


def test_equal_votes_go_to_the_lowest_class() -> None:
    assert knn.votes(np.array([[0.5, 0.5]]), np.array([[2, 1]]), 0.1, 3).argmax() == 1


def test_k_and_temperature_are_chosen_without_the_test_part() -> None:
    (train, labels), (test, answers) = cloud(0, 500), cloud(1, 200)
    groups = np.arange(500)
    measured = knn.measure(train, labels, groups, test, answers)
    shuffled = knn.measure(train, labels, groups, test, np.random.default_rng(0).permutation(answers))
    assert (measured.k, measured.temperature) == (shuffled.k, shuffled.temperature) == knn.choose(train, labels, groups)
    assert measured.k in (1, 5, 20)  # 200 > 500 / 5
    assert measured.accuracy > 0.8
    assert set(measured.papers) == {(200, 0.1), (20, 0.07)}
    same = knn.predict(train, labels, test, k=20, temperature=0.07) == answers
    np.testing.assert_array_equal(measured.papers[20, 0.07], same)


@pytest.mark.parametrize("asked", [2000, 40])
def test_the_choice_is_the_best_of_all_hold_outs_together(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ASKED", asked)
    train, labels = cloud(0, 400, spread=2.0)
    groups = np.arange(400) // 2
    parts = [holdout.by_group(groups, min(0.2, asked / 400), 3 + number) for number in range(5)]
    right = dict.fromkeys(product((1, 5, 20), knn.TEMPERATURES), 0)
    for (k, temperature), aside in product(right, parts):
        named = knn.predict(train[~aside], labels[~aside], train[aside], k=k, temperature=temperature)
        right[k, temperature] += int((named == labels[aside]).sum())
    assert knn.choose(train, labels, groups, 3) == max(right, key=lambda pair: right[pair])
    assert len(set(right.values())) > 3


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_handful_of_pictures(count: int) -> None:
    train, labels = cloud(0, count)
    labels[:2] = 0, 1
    measured = knn.measure(train, labels, np.arange(count), train, labels)
    assert measured.k == 1
    assert measured.accuracy == 1


def test_one_group_uses_the_stated_choice() -> None:
    train, labels = cloud(0, 60)
    assert knn.choose(train, labels, np.zeros(60, dtype=np.int64)) == (12, 0.07)
