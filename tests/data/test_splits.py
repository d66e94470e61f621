"""Copies are one picture wherever luck is told."""

from __future__ import annotations

import numpy as np

from selfsight.data.splits import repeated, units


def test_copies_and_groups_are_one_unit_and_links_go_on() -> None:
    """The first two are of a group, the second has a copy of another group, whose other picture belongs there too."""
    groups, digests = np.array([7, 7, 8, 8, 9, 3]), ["a", "b", "b", "c", "d", "e"]
    assert units(groups, digests).tolist() == [0, 0, 0, 0, 4, 5]


def test_without_copies_units_are_the_groups_in_their_order() -> None:
    groups = np.array([0, 1, 0, 2, 1, 3])
    found = units(groups, list("abcdef"))
    assert np.array_equal(np.unique(found, return_inverse=True)[1], groups)


def test_a_picture_is_repeated_within_its_part() -> None:
    test = np.array([False, True, True, False, True])
    assert repeated(list("aaaab"), test).tolist() == [False, False, True, True, False]
