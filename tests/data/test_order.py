"""Orders and generators are pure functions of their numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfsight.data.order import Purpose, balanced, keyed, permuted

SEEDS = st.integers(0, 2**63 - 1)


@given(seed=SEEDS, number=SEEDS)
def test_the_same_key_draws_the_same_and_purposes_do_not_meet(seed: int, number: int) -> None:
    draws = [tuple(keyed(seed, number, purpose).random(4)) for purpose in Purpose for _ in (0, 1)]
    assert draws[::2] == draws[1::2]
    assert len(set(draws)) == len(Purpose)


def test_neighbouring_keys_are_unrelated() -> None:
    drawn = np.array([keyed(seed, number, Purpose.VIEWS).random(50) for seed in range(20) for number in range(20)])
    assert len(np.unique(drawn)) == drawn.size
    correlation = np.corrcoef(drawn)[np.triu_indices(len(drawn), 1)]
    assert np.abs(correlation).max() < 0.8
    assert abs(drawn.mean() - 0.5) < 0.01


def test_a_stream_is_long_enough_before_it_meets_the_next_purpose() -> None:
    """The purpose is in the counter's highest word: 2^192 blocks lie between two."""
    states = [keyed(1, 2, purpose).bit_generator.state["state"]["counter"].tolist() for purpose in Purpose]
    assert states == [[0, 0, 0, int(purpose)] for purpose in Purpose]


@given(count=st.integers(1, 300), seed=SEEDS, epoch=st.integers(0, 1000))
def test_permuted_has_everyone_once(count: int, seed: int, epoch: int) -> None:
    order = permuted(count, seed, epoch)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, permuted(count, seed, epoch))


def test_permuted_changes_with_epoch_and_seed() -> None:
    orders = {tuple(permuted(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(seed=st.integers(0, 99), length=st.integers(1, 200), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_balanced_shows_every_cluster_as_often(seed: int, length: int, sizes: list[int]) -> None:
    assignments = torch.repeat_interleave(torch.arange(len(sizes)) * 7, torch.tensor(sizes))
    order = balanced(assignments, length, seed, 0)
    assert order.shape == (length,)
    assert order.dtype == torch.int64
    assert torch.equal(order, balanced(assignments, length, seed, 0))
    each = len(assignments) // len(sizes) + 1
    full = balanced(assignments, each * len(sizes), seed, 0)
    assert torch.bincount(assignments[full])[::7].tolist() == [each] * len(sizes)
    for cluster, size in enumerate(sizes):
        if size > each:
            rows = full[assignments[full] == cluster * 7]
            assert len(set(rows.tolist())) == each, "without replacement where there are enough"


def test_a_negative_number_is_refused() -> None:
    with pytest.raises((ValueError, OverflowError)):
        keyed(0, -1, Purpose.VIEWS)
