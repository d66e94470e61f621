"""Pictures into a database: batch by batch, what is there already left out, then its index and how good that is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from selfsight.data.manifest import Manifest
from selfsight.embedding import store
from selfsight.embedding.store import Parts
from selfsight.embedding.upkeep import Change, change, noted, same_encoder
from selfsight.errors import RunError
from selfsight.searching.database import COLUMNS, EFFORTS, WIDEST, WIDEST_HALF, Database, distance
from selfsight.searching.quick import TEN, best, sample, strangers

__all__ = ["fill"]

MEMORY = "1GB"  # that building the index may take: beyond it pgvector builds many times slower
FEWEST = 1000  # rows from which on there is an index
ASKED = 50  # rows that its recall is measured on
LOCK = 0x5E1F5169  # of whoever writes
WRITE = f"COPY selfsight ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"


def fill(
    database: Database,
    facts: Mapping[str, Any],
    manifest: Manifest | None,
    parts_of: Callable[[Int[np.ndarray, "M"]], Parts],
    *,
    prune: bool,
) -> Change:
    """Bring the pictures of `manifest` in, with `prune` take out those that are gone; `facts` hold the `width`.

    Each batch is whole or not there, so the same command goes on after a kill or a lost server, and twice does
    nothing. RunError when the database is another encoder's, is being written, refuses, or goes away.
    """
    with database.answers():
        _prepare(database, facts)
        known = database.connection.execute("SELECT file, digest, label FROM selfsight ORDER BY id").fetchall()
        files, digests, labels = ([one[place] for one in known] for place in range(3))
        todo = change([*map(os.fsdecode, files)], digests, labels, manifest, prune=prune)
        left = set(todo.kept.tolist())
        came = [todo.new[:0]]
        if doomed := [file for place, file in enumerate(files) if place not in left]:
            _begin(database)
            database.connection.execute("DELETE FROM selfsight WHERE file = ANY(%s)", (doomed,))
        for place, label in todo.labelled.items():
            database.connection.execute("UPDATE selfsight SET label = %s WHERE file = %s", (label, files[place]))
        if manifest is not None and len(todo.new):
            for vectors, rows in noted(parts_of(todo.new), came):
                if len(came) == 2:  # the first: before it, nothing may have come to be written
                    _begin(database)
                _write(database, manifest, vectors, rows)
        if not database.facts.get("ready"):
            _finish(database)
        database.connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))  # a server may be slow to see us gone
    return replace(todo, new=np.concatenate(came))


def _begin(database: Database) -> None:
    """Say that it is not ready, so that a write that ends early is finished later."""
    _say(database, {**database.facts, "ready": False})


def _prepare(database: Database, facts: Mapping[str, Any]) -> None:
    """The extension, the table, and its comment."""
    run = database.connection.execute
    if not run("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()[0]:
        raise RunError(f"{database.where!r} is being written by another process; wait for it")
    if there := database.facts:
        same_encoder(there, facts, database.where, "another database, or a schema of its own in this one")
    with database.connection.transaction():
        run("CREATE EXTENSION IF NOT EXISTS vector")
        run(
            "CREATE TABLE IF NOT EXISTS selfsight (id bigint GENERATED ALWAYS AS IDENTITY (MINVALUE 0) PRIMARY KEY, "
            f"path text NOT NULL, label text, file bytea NOT NULL, digest text NOT NULL, "
            f"embedding vector({int(facts['width'])}) NOT NULL)"
        )
        if not there:
            _say(database, facts)
    database.register()


def _say(database: Database, facts: Mapping[str, Any]) -> None:
    from psycopg import sql

    database.connection.execute(sql.SQL("COMMENT ON TABLE selfsight IS {}").format(json.dumps(dict(facts))))


def _write(
    database: Database, manifest: Manifest, vectors: Float[np.ndarray, "B D"], rows: Int[np.ndarray, "B"]
) -> None:
    """One batch, in one transaction."""
    with database.connection.transaction(), database.connection.cursor() as cursor, cursor.copy(WRITE) as copy:
        copy.set_types(["text", "text", "bytea", "text", "vector"])
        for vector, row in zip(vectors, rows.tolist(), strict=True):
            label = store.shown(manifest.classes[manifest.labels[row]]) if manifest.labels[row] >= 0 else None
            name, file = store.shown(manifest.names[row]), os.fsencode(manifest.paths[row])
            copy.write_row((name, label, file, manifest.digests[row], vector))


def _finish(database: Database) -> None:
    """The index, and how much of the exact answer it finds, with the effort that is enough for it."""
    facts, run = database.facts, database.connection.execute
    width, count = int(facts["width"]), len(database)
    told: dict[str, Any] = {"ready": True, "recall": None, "effort": 0}
    if count >= FEWEST and width <= WIDEST_HALF:
        what = "embedding vector_cosine_ops"
        if width > WIDEST:
            what = f"(embedding::halfvec({width})) halfvec_cosine_ops"
        run(f"SET maintenance_work_mem = '{MEMORY}'")
        run(f"CREATE INDEX IF NOT EXISTS selfsight_near ON selfsight USING hnsw ({what})")
        run("ANALYZE selfsight")
        told["effort"], told["recall"] = _measured(database, width)
    _say(database, {**facts, **told})


def _measured(database: Database, width: int) -> tuple[int, float]:
    run = database.connection.execute
    every = [row for (row,) in run("SELECT id FROM selfsight ORDER BY id")]

    def found(queries: Float[np.ndarray, "Q D"], effort: int) -> Int[np.ndarray, "Q K"]:
        asked = f"SELECT id FROM selfsight ORDER BY {distance(width, effort)} LIMIT {TEN + 1}"
        with database.searching(effort):
            answers = [[row for (row,) in run(asked, (vector,))] for vector in queries]
        return np.array([one + [-1] * (TEN + 1 - len(one)) for one in answers])

    def vectors(rows: Int[np.ndarray, "Q"]) -> Float[np.ndarray, "Q D"]:
        return np.stack([database.vector(row) for row in rows.tolist()])

    own = vectors(np.array([every[place] for place in sample(len(every), ASKED)]))
    near = found(own, 0)
    queries = strangers(own, vectors(near[:, 1]), vectors(near[:, -1]))
    return best(EFFORTS, found(queries, 0)[:, :TEN], lambda effort: found(queries, effort)[:, :TEN])
