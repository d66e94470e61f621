"""Intervals: paired, by group, and covering the truth as often as they say."""

import numpy as np
import pytest
from scipy.stats import binomtest

from selfsight.evaluation import intervals


def test_groups_are_drawn_whole() -> None:
    """Ten copies of each picture in one group are worth one picture."""
    right = np.random.default_rng(0).random(80) < 0.6
    once = intervals.of_share(right, np.arange(80))
    assert intervals.of_share(np.repeat(right, 10), np.repeat(np.arange(80), 10)) == pytest.approx(once, abs=1e-12)


def test_resamples_are_paired_and_repeatable() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 300)) < 0.7
    groups = generator.integers(0, 90, 300)
    both = intervals.resampled_means(np.stack([first, second]), groups)
    np.testing.assert_array_equal(both[0], intervals.resampled_means(first[None], groups)[0])
    low, high = intervals.of_difference(first, second, groups)
    error = (both[0] - both[1]).std()  # Student's t of nearly 90 groups, wider by what half a picture each way adds
    middle = first.mean() - second.mean()
    assert middle - 2.2 * error < low < middle - 1.98 * error
    assert middle + 1.98 * error < high < middle + 2.2 * error


def test_a_share_of_single_pictures_has_wilsons_interval() -> None:
    for right, count in ((3, 400), (200, 400), (399, 400)):
        low, high = intervals.of_share(np.arange(count) < right, np.arange(count))
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_shares_between_right_and_wrong_are_known_better() -> None:
    """Means over draws vary less than single answers do."""
    values = np.random.default_rng(0).normal(0.5, 0.05, 100)
    low, high = intervals.of_share(values, np.arange(100))
    assert high - low < 0.03 < intervals.of_share(values > 0.5, np.arange(100))[1] - 0.5


def test_one_large_group_is_not_many() -> None:
    """Twenty groups of which one has most pictures say less than twenty alike."""
    right = np.random.default_rng(0).random(200) < 0.6
    even, uneven = np.arange(200) // 10, np.maximum(np.arange(200) - 180, 0)
    widths = [np.ptp(intervals.of_share(right, groups)) for groups in (even, uneven)]
    assert widths[1] > 1.5 * widths[0]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(0).random((1, 50)), np.arange(50)
    whole = intervals.resampled_means(values, groups, resamples=101)
    monkeypatch.setattr(intervals, "BLOCK", 500)
    intervals._kept.cache_clear()
    np.testing.assert_allclose(whole, intervals.resampled_means(values, groups, resamples=101), rtol=1e-12)


def test_pairing_finds_what_two_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    first = generator.random(400) < 0.7
    second = first & (generator.random(400) < 0.93)
    groups = np.arange(400)
    assert intervals.of_share(first, groups)[0] < intervals.of_share(second, groups)[1]
    assert intervals.of_difference(first, second, groups)[0] > 0


def test_all_right_is_no_certainty() -> None:
    low, high = intervals.of_share(np.ones(20, dtype=bool), np.arange(20))
    assert (low, high) == (pytest.approx(0.8316, abs=1e-4), 1.0)  # Clopper-Pearson, 20 of 20
    assert intervals.of_share(np.zeros(20, dtype=bool), np.arange(20)) == (0.0, pytest.approx(0.1684, abs=1e-4))


def test_one_group_tells_nothing() -> None:
    right, groups = np.array([True, False, True]), np.zeros(3, dtype=np.int64)
    assert intervals.of_share(right, groups) == (0.0, 1.0)
    assert intervals.of_difference(right, ~right, groups) == (-1.0, 1.0)


@pytest.mark.parametrize(("first", "second", "gap"), [(1, 1, 0), (1, 0, 1), (0, 1, -1)])
def test_the_same_difference_everywhere_is_no_certainty(first: int, second: int, gap: int) -> None:
    right, other = np.full(20, first, dtype=bool), np.full(20, second, dtype=bool)
    low, high = intervals.of_difference(right, other, np.arange(20))
    share = 0.8316  # Clopper-Pearson, 20 of 20; the rest may be either way
    assert low == pytest.approx(share * gap - (1 - share), abs=1e-4)
    assert high == pytest.approx(share * gap + (1 - share), abs=1e-4)
    low, high = intervals.of_difference(right, other, np.arange(20) // 10)
    assert low < 0 < high  # two groups show nothing, whatever they say


def test_groups_that_are_alike_are_no_certainty_either() -> None:
    right = np.tile([True, False], 10)
    low, high = intervals.of_share(right, np.arange(20) // 2)
    assert low < 0.4
    assert high > 0.6


def test_the_luck_of_draws_widens() -> None:
    """By its variance and degrees of freedom, and not at all where all draws agree."""
    generator = np.random.default_rng(0)
    values, groups = generator.random(400), np.arange(400)
    draws = values.mean() + generator.normal(0, 0.1, 5)
    alone, same = intervals.of_share(values, groups), intervals.of_share(values, groups, draws=np.full(5, 0.5))
    assert alone == same
    items, luck = values.var() / 399, draws.var(ddof=1) / 5  # one picture a group: the bootstrap's variance, widened
    freedom = (items + luck) ** 2 / (items**2 / 399 + luck**2 / 4)
    expected = intervals.wilson(float(values.mean()), items + luck, freedom)
    assert intervals.of_share(values, groups, draws=draws) == pytest.approx(expected, abs=0.005)
    assert np.ptp(expected) > 2 * np.ptp(alone)
    both = [intervals.of_difference(values, values[::-1], groups, draws=one) for one in (None, draws - draws.mean())]
    assert np.ptp(both[1]) > 1.5 * np.ptp(both[0])


def test_intervals_over_draws_hold_the_truth() -> None:
    """A draw of labels shifts all its answers: without their luck the true share lies outside far too often."""
    held = np.zeros((400, 2), bool)
    for trial in range(len(held)):
        generator = np.random.default_rng((3, trial))
        chances = 0.6 + generator.normal(0, 0.12, 6)
        right = generator.random((6, 300)) < chances[:, None]
        for place, draws in enumerate((None, right.mean(axis=1))):
            low, high = intervals.of_share(right.mean(axis=0), np.arange(300), draws=draws)
            held[trial, place] = low <= 0.6 <= high
    without, with_luck = held.mean(axis=0)
    assert without < 0.6
    assert 0.93 <= with_luck <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("groups_count", [40, 200])
def test_coverage(groups_count: int) -> None:
    """Pictures of one group share their luck; 95 % of the intervals hold the true accuracy, and the true difference."""
    trials, truth, gap = 600, 0.7, 0.1
    held = np.zeros((trials, 2), dtype=bool)
    for trial in range(trials):
        generator = np.random.default_rng((7, trial))
        sizes = generator.integers(1, 6, groups_count)
        groups = np.repeat(np.arange(groups_count), sizes)
        ease = np.repeat(np.clip(generator.normal(0, 0.1, groups_count), -0.2, 0.2), sizes)  # symmetric: mean is kept
        first = generator.random(len(groups)) < truth + ease
        second = generator.random(len(groups)) < truth - gap + ease
        low, high = intervals.of_share(first, groups, seed=trial)
        held[trial, 0] = low <= truth <= high
        low, high = intervals.of_difference(first, second, groups, seed=trial)
        held[trial, 1] = low <= gap <= high
    assert (held.mean(axis=0) >= 0.93).all(), held.mean(axis=0)
    assert (held.mean(axis=0) <= 0.97).all(), held.mean(axis=0)
