"""Of a very large set a part is measured: always the same, labels first, with a test part, and said."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

import selfsight
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError
from selfsight.evaluation.portion import AT_MOST, described, portion


def manifest(count: int, test: int, channels: int = 3) -> Manifest:
    """The first `test` pictures are the test part; none is labelled."""
    number = np.arange(count)
    names = tuple(f"{i}.png" for i in range(count))
    digests = tuple(blake2b(name.encode(), digest_size=16).hexdigest() for name in names)
    side, no_labels = np.full(count, 8), np.full(count, -1)
    kinds = ("uint8",) * count
    shape = (side, side, np.full(count, channels))
    return Manifest(names, names, digests, no_labels, number, number < test, *shape, kinds, ("cat",))


def test_the_test_part_has_a_fifth_of_the_places() -> None:
    whole = manifest(1000, 500)
    rows = portion(whole, 100)
    assert (len(rows), whole.test[rows].sum()) == (100, 20)
    (note,) = described(whole, rows)
    assert note.startswith("Of 1000 pictures 100 are measured, 20 of them of the test part, drawn by their contents")
    assert (np.diff(rows) > 0).all(), "in the order of the listing"


@pytest.mark.parametrize(("test", "scored"), [(0, 0), (7, 7), (950, 50), (1000, 100)])
def test_places_that_one_part_cannot_fill_are_the_other_s(test: int, scored: int) -> None:
    whole = manifest(1000, test)
    rows = portion(whole, 100)
    assert (len(rows), whole.test[rows].sum()) == (100, scored)


def test_labelled_pictures_come_first() -> None:
    labels = np.where(np.arange(1000) % 20 == 0, 0, -1)
    whole = replace(manifest(1000, 200), labels=labels)
    assert (labels[portion(whole, 60)] == 0).sum() == 10 + 40, "all there are, in both parts"


def test_pictures_of_one_identity_come_together() -> None:
    whole, identity = manifest(1000, 1000), np.arange(1000) // 4
    identity[:400] = -1
    values = identity[portion(whole, 100, identity)]
    assert (np.unique(values, return_counts=True)[1] == 4).all()
    assert values.min() > 0


def test_the_same_pictures_are_drawn_from_a_listing_in_another_order() -> None:
    whole = manifest(1000, 200)
    turned = whole.taking(np.arange(1000)[::-1])
    drawn = {whole.names[row] for row in portion(whole, 100)}
    assert drawn == {turned.names[row] for row in portion(turned, 100)}
    assert drawn < {whole.names[row] for row in portion(whole, 200)}, "a larger part holds the smaller one"


def test_a_set_that_fits_is_measured_as_it_is() -> None:
    whole = manifest(100, 20)
    for most in (None, 100):
        assert portion(whole, most).tolist() == list(range(100))
    assert described(whole, whole.every_row()) == []
    with pytest.raises(RecipeError, match="--at-most 49 leaves too few pictures"):
        portion(whole, 49)


def test_pictures_of_many_channels_are_fewer() -> None:
    assert len(portion(manifest(AT_MOST, 9, channels=12))) == AT_MOST // 4
    assert len(portion(manifest(AT_MOST, 9, channels=1))) == AT_MOST


def test_evaluate_measures_the_part_and_says_so(photos: Path, tmp_path: Path) -> None:
    run = selfsight.train(
        photos, encoder="test_resnet", size=32, batch=16, threads=1, length="1steps", out=tmp_path / "run", quiet=True
    )
    found = run.evaluate(at_most=50)
    assert any(note.startswith("Of 64 pictures 50 are measured") for note in found["notes"])
    assert found["leaks"]["test"] == 8
    assert "Nearly the same pictures were looked for among 42 of 56 training pictures" in found["leaks"]["sentence"]
