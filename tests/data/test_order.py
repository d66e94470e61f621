"""Orders and generators are pure functions of their numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfsight.data.order import Purpose, balanced, grouped, keyed, permuted, samples_for
from selfsight.errors import RecipeError

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


@given(
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=6),
    samples=st.integers(1, 5),
    length=st.integers(1, 70),
)
def test_grouped_is_batches_of_classes(seed: int, epoch: int, sizes: list[int], samples: int, length: int) -> None:
    known = torch.repeat_interleave(torch.arange(len(sizes)) * 7, torch.tensor(sizes))
    labels = torch.cat([known, torch.full((4,), -1)])
    labels = labels[permuted(len(labels), seed, 0)]
    order = grouped(labels, 3, samples, length, seed, epoch)
    assert order.dtype == torch.int64
    assert order.shape == (length,)
    assert torch.equal(order, grouped(labels, 3, samples, length, seed, epoch))
    for batch in order[: length // (3 * samples) * 3 * samples].view(-1, 3, samples):
        classes = labels[batch]
        assert (classes >= 0).all()
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0].tolist())) == 3
        for rows in batch.tolist():
            if sizes[int(labels[rows[0]]) // 7] >= samples:
                assert len(set(rows)) == samples, "no picture twice where there are enough"


def test_grouped_changes_with_epoch_and_seed_and_shows_every_class() -> None:
    labels = torch.arange(60) % 12
    orders = [grouped(labels, 3, 4, 600, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    shown = torch.bincount(labels[orders[0]])
    assert shown.min() > 20
    assert len(set(orders[0].tolist())) == 60


def test_samples_divide_the_batch() -> None:
    assert samples_for(128, 100)[0] == 4
    assert samples_for(128, 10)[0] == 16
    assert samples_for(12, 100)[0] == 4
    assert samples_for(12, 100, 6) == (6, "a batch is 2 of 100 classes x 6 pictures")
    with pytest.raises(RecipeError, match=r"a batch of 12 is not P x K: 5 pictures .*; use --batch 10 or --set samp"):
        samples_for(12, 100, 5)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises((ValueError, OverflowError)):
        keyed(0, -1, Purpose.VIEWS)
