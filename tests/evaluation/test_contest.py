"""Many comparisons at once: the truth is covered by all intervals together, and no claim is made of luck."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from selfsight.evaluation import contest, intervals

Draw = Callable[[np.random.Generator], dict[str, np.ndarray]]


def pairs_of(rows: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    names = list(rows)
    return [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]


def equals(
    generator: np.random.Generator, seeds: int = 1, luck: float = 0.0
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six rows that are equally good on pictures of unequal difficulty, in groups of three; seeds differ by luck."""
    groups = np.repeat(np.arange(80), 3)
    ease = np.repeat(generator.normal(0.5, 1.0, 80), 3) + generator.normal(0, 1.0, 240)
    rows = {}
    for name in "abcdef":
        level = generator.normal(0, luck, (seeds, 1)) if luck else np.zeros((seeds, 1))
        rows[name] = (ease + level + generator.normal(0, 1.5, (seeds, 240)) > 0).astype(np.float64)
    return rows, groups


@pytest.mark.parametrize(("seeds", "luck", "most"), [(1, 0.0, 0.09), (3, 0.3, 0.09)])
def test_a_family_of_equals_is_rarely_told_apart(
    seeds: int, luck: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen comparisons of equals: one false claim or more in 5 % of the tables, where intervals of one comparison
    each would bring it in many more. 250 tables: 5 % has a standard error of 1.4 %."""
    monkeypatch.setattr(contest, "RESAMPLES", 300)
    generator = np.random.default_rng(1)
    ours, plain = [], []
    for _ in range(250):
        rows, groups = equals(generator, seeds, luck)
        found = contest.compared(rows, pairs_of(rows), groups)
        ours.append(any(gap.shown for gap in found))
        if len(plain) < 50:
            means = {name: right.mean(axis=0) for name, right in rows.items()}
            single = [intervals.of_difference(means[gap.first], means[gap.second], groups) for gap in found]
            plain.append(any(low > 0 or high < 0 for low, high in single))
    assert np.mean(ours) <= most
    assert np.mean(plain) > 0.2


def test_one_large_group_is_not_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient of twenty has a third of the pictures, and each row its own luck with a patient: as many groups of one
    size would bring a false claim in several times as many tables as these."""
    monkeypatch.setattr(contest, "RESAMPLES", 300)
    generator = np.random.default_rng(1)
    sizes = np.array([60, 30, 15, 10, *[4] * 16])
    groups = np.repeat(np.arange(20), sizes)
    claims = {"groups": 0, "effective": 0}
    for _ in range(200):
        rows = {}
        for name in "abcdef":
            luck = np.repeat(generator.normal(0, 1.5, 20), sizes)
            rows[name] = (luck + generator.normal(0, 1, (1, len(groups))) > 0).astype(np.float64)
        for kind in claims:
            with monkeypatch.context() as counted:
                if kind == "groups":
                    counted.setattr(intervals, "effective", lambda groups: float(len(np.unique(groups))))
                claims[kind] += any(gap.shown for gap in contest.compared(rows, pairs_of(rows), groups))
    assert claims["effective"] <= 0.09 * 200
    assert claims["groups"] > 2 * claims["effective"]


def test_what_differs_is_found() -> None:
    generator = np.random.default_rng(0)
    rows, groups = equals(generator)
    rows["worst"] = rows["a"] * (generator.random((1, 240)) < 0.6)
    found = {(gap.first, gap.second): gap for gap in contest.compared(rows, pairs_of(rows), groups)}
    assert all(found[name, "worst"].better for name in "abcdef")
    assert not any(gap.shown for pair, gap in found.items() if "worst" not in pair)
    assert contest.compared(rows, [("worst", "a")], groups)[0].worse


def test_one_comparison_is_the_interval_of_the_house() -> None:
    rows, groups = equals(np.random.default_rng(3))
    gap = contest.compared(rows, [("a", "b")], groups)[0]
    usual = intervals.of_difference(rows["a"][0], rows["b"][0], groups)
    assert gap.interval == pytest.approx(usual, abs=0.012)
    assert contest.of_row(rows["a"], groups) == intervals.of_share(rows["a"][0], groups)


def test_more_comparisons_make_wider_intervals() -> None:
    rows, groups = equals(np.random.default_rng(3))
    alone = contest.compared(rows, [("a", "b")], groups)[0].interval
    among = contest.compared(rows, pairs_of(rows), groups)[0].interval
    assert among[0] < alone[0]
    assert among[1] > alone[1]


def test_the_luck_of_the_start_counts() -> None:
    """One seed of three that is far better is no method that is better; the pictures alone would say so."""
    generator = np.random.default_rng(0)
    steady = (generator.random((3, 600)) < 0.5).astype(np.float64)
    lucky = np.stack([generator.random(600) < share for share in (0.45, 0.5, 0.9)]).astype(np.float64)
    rows, groups = {"lucky": lucky, "steady": steady}, np.arange(600)
    assert intervals.of_difference(lucky.mean(axis=0), steady.mean(axis=0), groups)[0] > 0
    assert not contest.compared(rows, [("lucky", "steady")], groups)[0].shown
    low, high = contest.of_row(lucky, groups)
    assert high - low > 0.5


def test_satterthwaite_is_a_slow_twin() -> None:
    """Variances and degrees of freedom by hand for two rows of three seeds."""
    generator = np.random.default_rng(5)
    rows = {name: (generator.random((3, 90)) < 0.6).astype(np.float64) for name in "ab"}
    groups = np.arange(90)
    each = (rows["a"] - rows["b"]).mean(axis=0)
    items = each.var(ddof=1) / 90
    seeds = [rows[name].mean(axis=1).var(ddof=1) / 3 for name in "ab"]
    items_deviation, _ = contest._deviations([rows["a"], rows["b"]], groups, 0)
    deviation, freedom = contest._spread(items_deviation[0] - items_deviation[1], (rows["a"], rows["b"]), 90)
    assert deviation == pytest.approx((items + sum(seeds)) ** 0.5, rel=0.03)
    expected = (items + sum(seeds)) ** 2 / (items**2 / 89 + sum(seeds) ** 2 / 2)
    assert freedom == pytest.approx(expected, rel=0.08)


def test_all_right_with_every_seed_is_no_certainty() -> None:
    groups = np.arange(40)
    for share in (0.0, 1.0):
        right = np.full((3, 40), share)
        assert contest.of_row(right, groups) == intervals.of_share(right[0], groups)
    nearly = np.ones((3, 40))
    nearly[:, 0] = 0
    assert contest.of_row(nearly, groups) == pytest.approx(intervals.of_share(nearly[0], groups), abs=0.003)
    nearly[0, :3] = 0
    low, high = contest.of_row(nearly, groups)
    assert low < intervals.of_share(nearly[1], groups)[0] < 0.9
    assert high < 1
    assert contest.of_row(nearly, np.zeros(40)) == (0, 1)


def test_equal_rows_are_tied_and_few_groups_say_nothing() -> None:
    right = (np.random.default_rng(0).random((1, 40)) < 0.5).astype(np.float64)
    same = contest.compared({"a": right, "b": right.copy()}, [("a", "b")], np.arange(40))[0]
    assert (same.difference, same.interval, same.shown) == (0.0, (0.0, 0.0), False)
    ones, none = np.ones((1, 40)), np.zeros((1, 40))
    assert contest.compared({"a": ones, "b": none}, [("a", "b")], np.arange(40))[0].better
    few = contest.compared({"a": ones, "b": none}, [("a", "b")], np.arange(40) % 5)[0]
    assert not few.shown
    assert contest.compared({}, [], np.arange(3)) == []


def test_a_handful_of_differing_pictures_is_no_claim() -> None:
    right = np.ones((1, 4000))
    other = right.copy()
    other[0, :5] = 0
    assert not contest.compared({"a": right, "b": other}, [("a", "b")], np.arange(4000))[0].shown


def test_leading_says_how_sure_the_order_is() -> None:
    generator = np.random.default_rng(0)
    good, bad = ((generator.random((1, 500)) < share).astype(np.float64) for share in (0.8, 0.5))
    clear = contest.leading({"good": good, "bad": bad}, np.arange(500))
    assert clear["good"] > 0.99
    close = contest.leading({"a": good, "b": good[:, ::-1].copy()}, np.arange(500))
    assert 0.2 < close["a"] < 0.8
    assert sum(close.values()) == pytest.approx(1.0)
