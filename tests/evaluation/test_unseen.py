"""A run is not scored on what it was trained on, and where it is, that is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError
from selfsight.evaluation.unseen import held_out, unseen


def manifest(contents: str, test: list[int]) -> Manifest:
    """One picture a letter; equal letters are copies."""
    count = len(contents)
    number = np.arange(count)
    names = tuple(f"{i}.png" for i in range(count))
    side = np.full(count, 8)
    marks = np.isin(number, test)
    no_labels = np.full(count, -1)
    kinds = ("uint8",) * count
    return Manifest(names, names, tuple(contents), no_labels, number, marks, side, side, side, kinds, ())


def test_pictures_that_the_run_trained_on_are_left_out_and_named() -> None:
    left, notes = unseen(manifest("abcxyz", [0, 1, 3, 4]), manifest("abcd", [1]))
    assert left.digests == ("b", "c", "x", "y", "z")  # b was held out by the run, c is no test picture
    assert left.test.tolist() == [True, False, True, True, False]
    assert left.names == ("1.png", "2.png", "3.png", "4.png", "5.png")
    assert notes == ["1 of 4 test pictures were trained on by this run and are left out."]
    assert held_out(left, manifest("abcd", [1]))


def test_other_pictures_need_no_word() -> None:
    other = manifest("xyz", [0])
    assert unseen(other, manifest("abc", [0])) == (other, [])


def test_nothing_left_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DataError, match=r"all 2 test pictures were trained on by this run.*other pictures as DATA"):
        unseen(manifest("abx", [0, 1]), manifest("abc", []))


def test_use_all_keeps_them_and_says_so() -> None:
    own = replace(manifest("abcd", [0, 1]), use_all=True)
    left, notes = unseen(own, own)
    assert len(left) == 4
    assert "--use-all" in notes[0]
    assert "2 of 2 test pictures here were trained on" in notes[0]
    assert "none of these 1 test pictures" in unseen(manifest("xy", [0]), own)[1][0]
    assert "there is no test part here" in unseen(manifest("ab", []), own)[1][0]


def test_what_a_run_before_was_trained_on_is_seen_too() -> None:
    own, before = manifest("abcd", [0, 1]), manifest("axy", [])
    left, notes = unseen(own, own, before)
    assert left.digests == ("b", "c", "d")
    assert notes == ["1 of 2 test pictures were trained on by this run or one that it started from and are left out."]
    assert not held_out(own, own, before)
    _, notes = unseen(own, own, replace(before, use_all=True))
    assert notes[0].startswith(
        "This run or one that it started from was trained on its test part too (--use-all): 1 of 2"
    )


def test_no_test_part_is_told() -> None:
    own = manifest("abc", [])
    assert unseen(own, own)[1] == ["There is no test part: 3 of the 3 pictures measured were trained on."]
    assert not held_out(own, own)
    assert held_out(manifest("xyz", []), own)
