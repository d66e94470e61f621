"""Vectors in a real PostgreSQL with pgvector: the same answers as from files, whatever ends a write."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psycopg
import pytest
from test_main_job import TINY

from selfsight import cli
from selfsight.data.manifest import Manifest
from selfsight.errors import DataError, MissingError, RunError
from selfsight.neighbours import nearest
from selfsight.searching.database import Database, distance, shown
from selfsight.searching.fill import fill
from selfsight.searching.index import Index
from selfsight.searching.narrow import Narrow
from selfsight.searching.story import Wanted, search

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from cluster import Cluster, cluster

FACTS = {"encoder": "abc", "run": "/nowhere", "kind": "pictures", "size": 32, "patches": False}
ODD = ["two\nlines.png", 'with "quotes".png', "تصوير.png", "<img src=x onerror=alert(1)>.png", os.fsdecode(b"\xff.png")]
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_database import manifest, put
put(sys.argv[1], manifest(100), fail=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def address(server: Cluster, request: pytest.FixtureRequest) -> str:
    """A schema of its own for each test."""
    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server.address}?options=-csearch_path%3D{name}%2Cpublic"


def manifest(count: int, names: list[str] | None = None) -> Manifest:
    """Rows that were never files."""
    names = names or [f"{number:05d}.png" for number in range(count)]
    paths, digests = [f"/nowhere/{name}" for name in names], [f"{number:032x}" for number in range(count)]
    labels = np.arange(count) % 3 - 1
    rows = SimpleNamespace(names=names, paths=paths, digests=digests, labels=labels, classes=("cat", "dog"), bad=())
    return cast(Manifest, rows)


def vectors_of(count: int, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


def put(address: str, rows: Manifest, vectors: np.ndarray | None = None, fail: Any = None, prune: bool = False) -> str:
    """Write in batches of 10; `fail` is called before the fifth."""
    vectors = vectors_of(len(rows.paths)) if vectors is None else vectors

    def parts(new: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(0, len(new), 10):
            if fail and number == 40:
                fail()
            yield vectors[new[number : number + 10]], new[number : number + 10]

    return str(fill(Database(address), {**FACTS, "width": vectors.shape[1]}, rows, parts, prune=prune))


def count(address: str) -> int:
    return len(Database.open(address))


def test_the_recall_is_that_of_the_index(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "selfsight.searching.fill.EFFORTS", (1,)
    )  # finds one row or so, where the exact search finds ten
    put(address, manifest(1500), vectors_of(1500))
    recall = Database.open(address).recall
    assert recall is not None
    assert recall < 0.5


def test_answers_are_those_of_the_exact_search(address: str) -> None:
    vectors, rows = vectors_of(1500), manifest(1500)
    assert put(address, rows, vectors) == "1500 added, 0 kept"
    database = Database.open(address)
    assert database.recall is not None
    assert database.recall >= 0.98
    found = [[hit["row"] for hit in database.find(vector, 10, Narrow())] for vector in vectors[:40]]
    expected = nearest(vectors[:40], vectors, 10)[1]
    assert (
        np.mean([len(set(one) & set(right)) / 10 for one, right in zip(found, expected.tolist(), strict=True)]) > 0.95
    )
    with psycopg.connect(address) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            f"EXPLAIN SELECT id FROM selfsight ORDER BY {distance(16, 40)} LIMIT 3", (str(vectors[0].tolist()),)
        ).fetchall()
    assert "selfsight_near" in str(plan)
    hit = database.find(vectors[7], 3, Narrow(), without=(7,))[0]
    assert hit["row"] == expected[7][1]
    narrowed = database.find(vectors[7], 5, Narrow(["dog"], "000*"))
    allowed = np.flatnonzero((rows.labels == 1) & (np.arange(1500) < 100))
    right = allowed[nearest(vectors[7:8], vectors[allowed], 5)[1][0]]
    assert [hit["row"] for hit in narrowed] == right.tolist()
    assert database.row_of("00009.png") == database.row_of("/nowhere/00009.png") == 9
    np.testing.assert_array_equal(database.vector(9), vectors[9])
    questions = {"like": ["7"]}, {"outliers": True}, {"like": ["7"], "narrow": Narrow(["dog"])}
    questions += {"like": ["7"], "k": 1200}, {"outliers": True, "approximate": True}
    recalls = [search(address, Wanted(**question), None, drawn=False)["recall"] for question in questions]
    assert recalls == [database.recall, None, None, None, None]  # the others look at every row
    with pytest.raises(DataError, match="no row 9999"):
        database.vector(9999)


def test_an_index_that_finds_too_few_is_not_all_there_is(address: str) -> None:
    """It leads to rows that were deleted, which are no answer."""
    vectors = vectors_of(1500)
    put(address, manifest(1500), vectors)
    database = Database.open(address)
    database.connection.execute("DELETE FROM selfsight WHERE id % 10 > 0")
    found = database.find(vectors[0], 60, Narrow())
    assert [hit["row"] for hit in found] == (10 * nearest(vectors[:1], vectors[::10], 60)[1][0]).tolist()
    assert found.recall is None


def test_there_and_back_is_the_same_to_the_bit(address: str) -> None:
    vectors = vectors_of(len(ODD))
    put(address, manifest(len(ODD), ODD), vectors)
    index = Database.open(address).fetched()
    np.testing.assert_array_equal(index.vectors, vectors)
    assert index.paths == [f"/nowhere/{name}" for name in ODD]
    assert index.names == [*ODD[:4], "\\udcff.png"]
    assert index.labels == [None, "cat", "dog", None, "cat"]
    assert index.table["digest"].to_pylist() == [f"{number:032x}" for number in range(len(ODD))]


def test_twice_does_nothing_and_what_changed_is_replaced(address: str) -> None:
    rows = manifest(30)
    put(address, rows)
    assert put(address, rows) == "0 added, 30 kept"
    with pytest.MonkeyPatch.context() as patch:  # one that turns out to be no picture, so no vector comes
        patch.setattr("selfsight.searching.fill._finish", lambda database: pytest.fail("its index is made again"))
        facts = {**FACTS, "width": 16}
        assert str(fill(Database(address), facts, manifest(31), lambda rows: (), prune=False)) == "0 added, 30 kept"
    rows.digests[3] = "other"  # type: ignore[index]
    assert put(address, rows) == "1 added, 29 kept, 1 with other contents left out"
    assert count(address) == 30
    rows.labels[4] = 1
    assert put(address, rows) == "0 added, 30 kept, 1 with another label"
    there = Database.open(address).fetched()
    assert there.labels[there.names.index("00004.png")] == "dog"
    assert sorted(Database.open(address).fetched().names) == sorted(rows.names)


@pytest.mark.parametrize("how", ["killed", "server gone"])
def test_what_was_written_stays_and_the_same_command_goes_on(how: str, address: str, server: Cluster) -> None:
    if how == "killed":
        line = [sys.executable, "-c", KILLED, address, str(Path(__file__).parent)]
        paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        done = subprocess.run(line, capture_output=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        put(address, manifest(1))
        searching = Database.open(address)
        with pytest.raises(RunError, match=r"went away.*the same command again"):
            put(address, manifest(101), fail=server.stop)
        for question in (lambda: searching.find(np.ones(16, np.float32), 1, Narrow()), lambda: searching.recall):
            with pytest.raises(RunError, match="went away"):
                question()
        server.start()
    there = count(address)
    assert there in (40, 41)
    assert put(address, manifest(there + 60)) == f"60 added, {there} kept"
    np.testing.assert_array_equal(Database.open(address).fetched().vectors, vectors_of(there + 60))


def test_a_write_that_ended_early_gets_its_index_later(address: str) -> None:
    """It brought a finished table of few rows to many, so that the rows were there and the index was not."""
    few, many = manifest(10), manifest(1000)
    put(address, few)

    def ends(database: Database) -> None:
        raise RunError("ended")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsight.searching.fill._finish", ends)
        with pytest.raises(RunError, match="ended"):
            put(address, many)
    assert Database.open(address).recall is None
    assert put(address, many) == "0 added, 1000 kept"
    assert Database.open(address).recall is not None


@pytest.mark.parametrize("count", [1000, 20])
def test_wide_vectors_have_an_index_of_halves_and_an_exact_search_looks_at_the_whole_ones(
    count: int, address: str
) -> None:
    vectors = vectors_of(count, 2048)
    query = vectors[6].copy()
    vectors[6] *= 1e-9  # nothing in 16 bits
    put(address, manifest(count), vectors)
    database = Database.open(address)
    assert (database.recall is not None) == (count == 1000)
    assert [hit["row"] for hit in database.find(vectors[5], 1, Narrow())] == [5]
    narrow = Narrow(path="*") if count == 1000 else Narrow()  # without an index every search is exact
    assert [hit["row"] for hit in database.find(query, 1, narrow)] == [6]
    assert distance(4001, 40) == "embedding <=> %s"


def test_what_cannot_be_is_a_sentence(address: str, server: Cluster) -> None:
    with pytest.raises(RunError, match="holds no vectors"):
        Database.open(address)
    put(address, manifest(3))
    with pytest.raises(RunError, match=r"belongs to another encoder.*a schema of its own"):
        fill(Database(address), {**FACTS, "encoder": "other", "width": 16}, manifest(3), lambda rows: (), prune=False)
    with pytest.raises(RunError, match="16 numbers, and the query has 5"):
        Database.open(address).find(np.ones(5, np.float32), 1, Narrow())
    writing = Database(address)
    writing.connection.execute(f"SELECT pg_advisory_lock({0x5E1F5169})")
    with pytest.raises(RunError, match="being written by another process"):
        put(address, manifest(3))
    with pytest.raises(RunError, match=r"'postgresql://127.0.0.1:1/none' cannot be reached"):
        Database("postgresql://me:secret@127.0.0.1:1/none")
    assert shown("postgresql://me:secret@host/base?password=secret") == "postgresql://host/base"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingError, match=r"selfsight\[pgvector\]"):
        Database("postgresql://127.0.0.1/none")


def test_from_the_command_line(
    address: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    assert cli.main(["train", "photos", *TINY, "--for", "2steps", "--out", "run", "--quiet"]) == 0
    (tmp_path / "photos" / "china" / "none.png").write_bytes(b"no picture")
    assert cli.main(["embed", "run", "photos", "--to", address]) == 0
    said = capsys.readouterr()
    assert "1 that cannot be read left out, such as " in said.err
    assert "64 added" in said.err
    assert "options" not in said.out
    assert cli.main(["search", address, "photos/china/000.png", "-k", "3"]) == 0
    by_database = capsys.readouterr().out.splitlines()[2:5]
    assert cli.main(["search", "run", "photos/china/000.png", "-k", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[2:5] == by_database
    assert by_database[0].endswith("china/000.png")
    for question in (["--duplicates"], ["--outliers"], ["--diverse", "4"], ["5", "--unlike", "40", "--label", "china"]):
        assert cli.main(["search", address, *question]) == 0
        assert cli.main(["search", "run", *question]) == 0
    (tmp_path / "photos" / "china" / "000.png").unlink()
    capsys.readouterr()
    assert cli.main(["search", address, "china/000.png", "-k", "1"]) == 0  # its vector is still there
    assert cli.main(["embed", "run", "--prune", "--to", address]) == 0
    assert "1 gone" in capsys.readouterr().err
    assert cli.main(["search", address, "china/000.png", "-k", "1"]) == 2
    assert Index.open("run").names[0] == "china/000.png"
