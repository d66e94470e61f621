"""Permutation sets: the check values, a slow twin, and what a set must be."""

from __future__ import annotations

import json
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest

from selfsight.views.permutations import permutation_set

EXPECTED = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["jigsaw"]["expected"]
SIZES = [(criterion, count) for criterion in ("min", "mean") for count in (10, 24, 64, 100, 1000)]


def distances(table: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs."""
    return (table[:, None] != table[None]).sum(axis=2)[np.triu_indices(len(table), 1)]


def twin(tiles: int, count: int, criterion: str) -> list[list[int]]:
    """The greedy choice with nothing kept from one round to the next."""
    pool = [list(order) for order in permutations(range(tiles))]
    chosen = [pool.pop(0)]
    while len(chosen) < count:
        scores = []
        for order in pool:
            far = [sum(a != b for a, b in zip(order, other, strict=True)) for other in chosen]
            scores.append(min(far) if criterion == "min" else sum(far))
        chosen.append(pool.pop(scores.index(max(scores))))
    return chosen


@pytest.mark.parametrize(("criterion", "count"), SIZES)
def test_check_values_of_three_by_three(criterion: str, count: int) -> None:
    table = permutation_set(9, count, criterion)
    assert table[:12].tolist() == EXPECTED["first12"][criterion][:count]
    mean, least = EXPECTED["mean_pairwise_hamming_and_min_by_set_size"][criterion][str(count)]
    found = distances(table)
    assert (found.mean(), found.min()) == (pytest.approx(mean, rel=1e-9), least)


def test_check_values_of_two_by_two() -> None:
    found = distances(permutation_set(4, 24, "min"))
    assert [found.mean(), found.min()] == pytest.approx(EXPECTED["all_24_of_2x2"], rel=1e-9)


@pytest.mark.parametrize("criterion", ["min", "mean"])
@pytest.mark.parametrize(("tiles", "count"), [(4, 24), (5, 40), (6, 25)])
def test_equals_the_slow_twin(tiles: int, count: int, criterion: str) -> None:
    assert permutation_set(tiles, count, criterion).tolist() == twin(tiles, count, criterion)


@pytest.mark.parametrize(("tiles", "count"), [(4, 24), (9, 100)])
def test_rows_are_distinct_permutations_and_the_inverse_restores(tiles: int, count: int) -> None:
    table = permutation_set(tiles, count)
    assert len({tuple(row) for row in table.tolist()}) == count
    for row in table:
        assert sorted(row) == list(range(tiles))
        shown = np.arange(tiles)[row]
        assert (shown[np.argsort(row)] == np.arange(tiles)).all()


def test_is_made_once_and_cannot_be_written_to() -> None:
    assert permutation_set(9, 64) is permutation_set(9, 64)
    with pytest.raises(ValueError, match="read-only"):
        permutation_set(9, 64)[0] = 1


def test_a_longer_set_begins_with_the_shorter() -> None:
    longer, shorter = permutation_set(9, 64), permutation_set(9, 24)
    assert (longer[:24] == shorter).all()
    assert all((a != b).any() for a, b in combinations(shorter, 2))
