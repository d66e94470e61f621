"""A group never straddles the cut."""

import numpy as np

from selfsight.evaluation.holdout import by_group


def test_groups_stay_whole_and_the_share_is_kept() -> None:
    groups = np.random.default_rng(0).integers(0, 100, 1000)
    aside = by_group(groups, 0.2)
    assert not np.intersect1d(groups[aside], groups[~aside]).size
    assert 0.15 < aside.mean() <= 0.2
    np.testing.assert_array_equal(aside, by_group(groups, 0.2))
    assert (aside != by_group(groups, 0.2, seed=1)).any()


def test_large_groups_still_give_a_part() -> None:
    assert by_group(np.array([0, 0, 0, 1, 1]), 0.2).tolist() == [False, False, False, True, True]


def test_one_group_gives_none() -> None:
    assert not by_group(np.zeros(10, dtype=np.int64), 0.2).any()
