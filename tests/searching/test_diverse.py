"""What to label next, against the greedy rule written out."""

from __future__ import annotations

import numpy as np
import pyarrow
import pytest

from selfsight.embedding.store import Stored
from selfsight.neighbours import unit
from selfsight.searching.diverse import diverse
from selfsight.searching.index import Index
from selfsight.searching.quick import best, strangers, without_self

FACTS = {"encoder": "abc", "run": "/nowhere", "kind": "pictures", "size": 32, "table": "digest"}


def index_of(vectors: np.ndarray, labels: list[str | None]) -> Index:
    """Rows that were never files."""
    names = [f"{row}.png" for row in range(len(vectors))]
    lengths = np.linalg.norm(vectors, axis=1).astype(np.float32)
    digests, files = names, [f"/nowhere/{name}".encode() for name in names]
    columns = {"path": names, "label": pyarrow.array(labels, pyarrow.string()), "file": files, "digest": digests}
    table = pyarrow.table({**columns, "length": lengths, "row": np.arange(len(vectors))})
    return Index(Stored(vectors, table, FACTS), "index")


def slow(vectors: np.ndarray, known: list[int], free: list[int], n: int) -> list[int]:
    """Each time, look at every row's nearest chosen one."""
    rows, chosen = unit(vectors), list(known)
    picked: list[int] = []
    for _ in range(n):
        left = [row for row in free if row not in picked]
        if chosen:
            picked.append(min(left, key=lambda row: max(float(rows[row] @ rows[one]) for one in chosen)))
        else:
            picked.append(max(left, key=lambda row: float(rows[row] @ rows[free].mean(axis=0))))
        chosen.append(picked[-1])
    return picked


@pytest.mark.parametrize("labelled", [0, 1, 12, 40])
def test_equals_the_slow_twin(labelled: int) -> None:
    vectors = np.random.default_rng(labelled).normal(size=(40, 6))
    index = index_of(vectors, ["cat" if row < labelled else None for row in range(40)])
    known = [] if labelled == 40 else list(range(labelled))
    free = [row for row in range(40) if row not in known]
    rows, likeness = diverse(index, index.rows, 9)
    assert rows.tolist() == slow(vectors, known, free, 9)
    assert (np.diff(likeness[1:]) >= -1e-6).all()  # it gets harder to be unlike all
    assert sorted(diverse(index, index.rows, 99)[0].tolist()) == free


def test_the_least_effort_that_finds_enough() -> None:
    exact = np.array([[1, 2], [0, 2]])
    answers = {1: np.array([[7, 8], [2, 8]]), 2: exact, 4: exact}
    assert best((1, 2, 4), exact, answers.__getitem__) == (2, 1.0)
    assert best((1,), exact, answers.__getitem__) == (1, 0.25)


def test_a_stranger_is_as_far_from_a_row_as_its_nearest_neighbour() -> None:
    own, near, far = np.random.default_rng(0).normal(size=(3, 20, 6))
    queries = strangers(own, near, far)
    assert (queries * unit(own)).sum(axis=1) == pytest.approx((unit(near) * unit(own)).sum(axis=1))
    assert (queries * unit(near)).sum(axis=1).max() < 1 - 1e-6  # and is not that neighbour
    assert strangers(own, own, own) == pytest.approx(unit(own))  # copies: nowhere to go


def test_a_row_is_not_its_own_neighbour() -> None:
    cosines, rows = np.array([[1.0, 0.5, 0.2], [1.0, 0.9, 0.1]]), np.array([[0, 4, 5], [0, 7, 8]])
    kept = without_self(cosines, rows)
    assert kept[1].tolist() == [[4, 5], [0, 7]]  # the second did not find itself
    assert kept[0].tolist() == [[0.5, 0.2], [1.0, 0.9]]
