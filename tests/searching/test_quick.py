"""Searching a part of the rows: near the exact answer, and how near is said."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_diverse import index_of

from selfsight.errors import DiskError, MissingError
from selfsight.searching import quick
from selfsight.searching.index import Index
from selfsight.searching.narrow import Narrow


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(quick, "LEAST", 1000)
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(50, 16))
    vectors = (centres[generator.integers(0, 50, 4000)] + generator.normal(size=(4000, 16))).astype(np.float32)
    found = index_of(vectors, [None] * 4000)
    found.folder = tmp_path
    return found


def test_it_finds_nearly_what_the_exact_search_finds(index: Index) -> None:
    queries = np.asarray(index.vectors[7::97])
    exact = index.nearest(queries, 10)
    everyone = index.neighbours(index.rows, 5)
    index.speed_up()
    assert index.quick is not None
    assert index.recall is not None
    assert index.recall >= quick.RECALL
    cosines, rows = index.nearest(queries, 10)
    shared = [len(set(one) & set(other)) for one, other in zip(rows.tolist(), exact[1].tolist(), strict=True)]
    assert np.mean(shared) > 9.5
    np.testing.assert_allclose(cosines[:, 0], exact[0][:, 0], atol=1e-5)
    near = index.neighbours(index.rows, 5)
    assert (near[1] != np.arange(4000)[:, None]).all()
    assert np.mean(near[1] == everyone[1]) > 0.9
    assert index.nearest(queries, 4000)[1].min() >= 0  # more than its lists hold: it looks further
    where = index.rows < 100
    assert index.nearest(queries, 10, where)[1].max() < 100
    assert len(index.find(queries[0], 3, Narrow(), without=(7,))) == 3


def test_it_is_built_once_for_the_same_rows(index: Index) -> None:
    index.speed_up()
    before = (index.folder / "embeddings.faiss").stat().st_mtime_ns
    index.speed_up()
    assert (index.folder / "embeddings.faiss").stat().st_mtime_ns == before
    index.facts["table"] = "other rows"
    index.speed_up()
    assert (index.folder / "embeddings.faiss").stat().st_mtime_ns > before


def test_one_that_was_not_built_here_is_not_read(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor one that was damaged since."""
    index.speed_up()
    file = index.folder / "embeddings.faiss"
    built = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    index.speed_up()
    assert file.stat().st_mtime_ns > built
    built = file.stat().st_mtime_ns
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "of another user"))
    index.speed_up()
    assert file.stat().st_mtime_ns > built
    built = file.stat().st_mtime_ns
    index.speed_up()
    assert file.stat().st_mtime_ns == built


def test_two_processes_that_build_it_do_not_meet(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, own = quick.needed(), os.getpid()

    def written(built: object, path: str) -> None:
        write(built, path)
        if os.getpid() == own:  # at this moment another one does all of it
            with monkeypatch.context() as patched:
                patched.setattr(os, "getpid", lambda: own + 1)
                index.speed_up()

    write = faiss.write_index
    monkeypatch.setattr(faiss, "write_index", written)
    index.speed_up()
    assert [file.name for file in index.folder.iterdir()] == ["embeddings.faiss"]


def test_few_rows_are_searched_exactly(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "LEAST", 5000)
    index.speed_up()
    assert index.quick is None
    assert index.recall is None


def test_what_is_missing_is_said(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(index.folder)
    with pytest.raises(DiskError, match="or search exactly"):
        index.speed_up()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingError, match="selfsight\\[search\\]"):
        index.speed_up()
