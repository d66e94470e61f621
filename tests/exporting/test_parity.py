"""The gate lets through what is the same and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight.errors import ExportError
from selfsight.exporting import integers, parity

VIEWS = torch.arange(40)[:, None, None, None].expand(-1, 2, 2, 1)
ROWS = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


def answering(rows: np.ndarray) -> parity.Answers:
    return lambda views: {"embedding": rows[views[:, 0, 0, 0].numpy()]}


def turned(cosine: float) -> np.ndarray:
    """Each row turned away from itself by this much."""
    aside = np.random.default_rng(1).normal(size=ROWS.shape)
    aside -= (aside * ROWS).sum(1, keepdims=True) / (ROWS**2).sum(1, keepdims=True) * ROWS
    aside *= np.linalg.norm(ROWS, axis=1, keepdims=True) / np.linalg.norm(aside, axis=1, keepdims=True)
    return cosine * ROWS + np.sqrt(1 - cosine**2) * aside


def test_the_same_and_a_rounding_pass() -> None:
    found = parity.checked("it", answering(ROWS * 3), answering(ROWS), VIEWS)
    assert found["pictures"] == 40
    assert found["lowest_cosine"] == pytest.approx(1)
    parity.checked("it", answering(ROWS + 1e-7), answering(ROWS), VIEWS)


@pytest.mark.parametrize("rows", [turned(0.9998), np.full_like(ROWS, np.nan), ROWS[::-1]])
def test_another_vector_does_not(rows: np.ndarray) -> None:
    with pytest.raises(ExportError, match="another embedding"):
        parity.checked("it", answering(rows), answering(ROWS), VIEWS)


def test_neighbours_must_stay_though_cosines_are_high() -> None:
    base = np.ones((40, 8)) * 10
    own, other = base + ROWS * 0.05, base + ROWS[::-1] * 0.05
    assert parity.lowest_cosine(own, other) > parity.COSINE
    with pytest.raises(ExportError, match="other pictures nearest"):
        parity.checked("it", answering(other), answering(own), VIEWS)


def test_a_batch_that_is_wrong_alone_is_found() -> None:
    def odd(views: torch.Tensor) -> dict[str, np.ndarray]:
        found = answering(ROWS)(views)
        return found if len(views) != 1 else {"embedding": -found["embedding"]}

    with pytest.raises(ExportError, match="in batches of 1"):
        parity.checked("it", odd, answering(ROWS), VIEWS)


def test_equal_pictures_may_change_places() -> None:
    rows = np.repeat(ROWS[:8], 5, axis=0)
    assert parity.moved(rows, rows + np.random.default_rng(2).normal(size=rows.shape) * 1e-7) == 0
    assert parity.moved(rows[:1], rows[:1]) == 0
    assert parity.moved(rows[:2], rows[:2]) == 0


def test_vectors_of_zeros_are_the_same_as_themselves_only() -> None:
    zeros = np.zeros((2, 3))
    assert parity.lowest_cosine(zeros, zeros) == 1
    assert parity.lowest_cosine(zeros, np.eye(2, 3)) == 0


def test_the_cost_of_8_bits_is_a_paired_difference() -> None:
    labels, groups = np.arange(40) % 2, np.arange(40)
    rows = np.eye(2)[labels] + ROWS[:, :2] * 0.05
    test = np.arange(40) >= 20
    same = integers.cost(rows, rows, labels, groups, test, ("a", "b"))
    assert (same["knn"]["difference"], same["neighbours_kept"]) == (0, 1)
    worse = integers.cost(rows, ROWS[:, :2], labels, groups, test, ("a", "b"))
    assert worse["knn"]["interval"][1] < 0
    assert worse["knn"]["difference"] < 0
    bare = integers.cost(rows, rows, np.full(40, -1), groups, test, ())
    assert bare["knn"] is None
    assert "no labels" in bare["sentence"]
    unknown = np.where(np.arange(40) < 35, labels, 2)
    told = integers.cost(rows, rows, unknown, groups, test, ("a", "b", "c"))["sentence"]
    assert told.endswith("Left out, for no training picture shows them: 'c' (5 pictures).")
    alone = integers.cost(rows[:1], rows[:1], labels[:1], groups[:1], test[:1], ("a", "b"))
    assert (alone["knn"], alone["neighbours_kept"]) == (None, None)
