"""Vectors in a PostgreSQL database with pgvector: the table `selfsight`, for when files are outgrown.

The table's comment says in JSON which encoder the vectors belong to. Pictures go in batch by batch, each batch whole or
not at all, so a write that ended early goes on when it is given again.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow
from jaxtyping import Float

from selfsight.embedding import store
from selfsight.errors import DataError, MissingError, RunError
from selfsight.searching.eye import Eye
from selfsight.searching.index import TOLD, Hits, Index
from selfsight.searching.narrow import Narrow

__all__ = ["Database", "is_address"]

COLUMNS = ("path", "label", "file", "digest", "embedding")
EFFORTS = (40, 80, 160, 320, 640, 1000)  # hnsw.ef_search: from pgvector's default to the most it takes
WIDEST, WIDEST_HALF = 2000, 4000  # numbers that an index of pgvector takes: of vector, of halfvec


def is_address(place: str | Path) -> bool:
    """Whether it names a database."""
    return str(place).startswith(("postgresql://", "postgres://"))


class Database:
    """The vectors of one encoder in a database. Rows are the column `id`, which counts from 0 and may have gaps."""

    def __init__(self, address: str, encoder: Path | None = None) -> None:
        psycopg, _ = needed()
        self.where = shown(address)
        self._encoder = encoder
        try:
            # a prepared statement would keep its plan, with the index or without, whatever `searching` says by then
            self.connection = psycopg.connect(address, autocommit=True, connect_timeout=10, prepare_threshold=None)
        except psycopg.Error as error:
            raise RunError(f"{self.where!r} cannot be reached: {_first_line(error)}") from error
        weakref.finalize(self, self.connection.close)

    @classmethod
    def open(cls, address: str, encoder: Path | None = None) -> Database:
        """A database that `write` wrote to. RunError when it cannot be reached, or holds no vectors of ours."""
        found = cls(address, encoder)
        if not found.facts:
            raise RunError(f"{found.where!r} holds no vectors; write some: selfsight embed RUN DATA --to ADDRESS")
        with found.answers():
            found.register()
        return found

    def register(self) -> None:
        """Teach the connection what a vector is."""
        needed()[1].register_vector(self.connection)

    @contextmanager
    def answers(self) -> Iterator[None]:
        """What the server refuses, or that it is gone, is a RunError."""
        psycopg, _ = needed()
        try:
            yield
        except psycopg.OperationalError as error:
            raise RunError(
                f"{self.where!r} went away or ended the work: {_first_line(error)}. What was written stays; when it is "
                "back, give the same command again and it goes on"
            ) from error
        except psycopg.Error as error:
            raise RunError(f"{self.where!r} refused: {_first_line(error)}") from error

    @property
    def facts(self) -> dict[str, Any]:
        """The table's comment; empty where there is no table of ours."""
        with self.answers(), suppress(TypeError, ValueError):
            return dict(json.loads(self._one("SELECT obj_description(to_regclass('selfsight'), 'pg_class')")))
        return {}

    @property
    def eye(self) -> Eye:
        """What makes vectors of other pictures."""
        return Eye(self.where, self.facts, self._encoder)

    @property
    def recall(self) -> float | None:
        """Share of the ten nearest that the index finds, as measured when it was written; None without an index."""
        return self.facts.get("recall")

    def __len__(self) -> int:
        with self.answers():
            return int(self._one("SELECT count(*) FROM selfsight"))

    def embed(self, sample: str | Path | bytes) -> Float[np.ndarray, "D"]:
        """The vector of a file, or of the bytes of one."""
        return self.eye.embed(sample)

    def row_of(self, name: str) -> int | None:
        """The first row of this name, or of this file."""
        asked = "SELECT min(id) FROM selfsight WHERE path = %s OR file = %s"
        with self.answers():
            found = self._one(asked, store.shown(name), os.fsencode(os.path.abspath(name)))
        return None if found is None else int(found)

    def vector(self, row: int) -> Float[np.ndarray, "D"]:
        """The vector of a row. DataError when there is no such row."""
        with self.answers():
            found = self._one("SELECT embedding FROM selfsight WHERE id = %s", row)
        if found is None:
            raise DataError(f"there is no row {row} in {self.where!r}")
        return _array(found)

    def find(self, vector: Float[np.ndarray, "D"], k: int, narrow: Narrow, without: Sequence[int] = ()) -> Hits:
        """The k nearest to one vector, told; by the index, but exact where the answer is narrowed, where more is asked
        for than the index takes, and where it finds too few."""
        facts = self.facts
        if len(vector) != facts["width"]:
            raise RunError(f"{self.where!r} holds vectors of {facts['width']} numbers, and the query has {len(vector)}")
        count, least = k + len(without), facts.get("effort", 0)
        effort = 0 if narrow or not least or count > EFFORTS[-1] else max(count, least)
        found = self._nearest(vector, count, narrow, effort)
        if effort and len(found) < count:
            effort, found = 0, self._nearest(vector, count, narrow, 0)
        hits = [row for row in found if row[0] not in without][:k]
        told = (
            {**dict(zip(TOLD, one, strict=True)), "file": os.fsdecode(one[3]), "similarity": round(cosine, 6)}
            for *one, cosine in hits
        )
        return Hits(told, facts.get("recall") if effort else None)

    def _nearest(self, vector: Float[np.ndarray, "D"], count: int, narrow: Narrow, effort: int) -> list[Any]:
        """Rows, with their cosine, that are nearest to a vector."""
        where, values = _condition(narrow)
        asked = (
            f"SELECT id, path, label, file, digest, 1 - (embedding <=> %s) FROM selfsight {where} "
            f"ORDER BY {distance(len(vector), effort)} LIMIT %s"
        )
        with self.answers(), self.searching(effort):
            return list(self.connection.execute(asked, (vector, *values, vector, count)).fetchall())

    def fetched(self) -> Index:
        """All of it, read into memory."""
        facts, names = self.facts, ("path", "label", "file", "digest")
        columns: dict[str, list[Any]] = {name: [] for name in ("row", *names)}
        vectors = [np.zeros((0, facts["width"]), np.float32)]
        with self.answers(), self.connection.cursor() as cursor:
            asked = f"COPY (SELECT id, {', '.join(COLUMNS)} FROM selfsight ORDER BY id) TO STDOUT (FORMAT BINARY)"
            with cursor.copy(asked) as copy:
                copy.set_types(["int8", "text", "text", "bytea", "text", "vector"])
                for *told, vector in copy.rows():
                    vectors.append(_array(vector)[None])
                    for column, value in zip(columns.values(), told, strict=True):
                        column.append(value)
        joined = np.concatenate(vectors)
        table = pyarrow.table({**columns, "length": np.linalg.norm(joined, axis=1).astype(np.float32)})
        return Index(store.Stored(joined, table, facts), self.where, self._encoder)

    def _one(self, asked: str, *values: Any) -> Any:
        found = self.connection.execute(asked, values).fetchone()
        return found[0] if found else None

    @contextmanager
    def searching(self, effort: int) -> Iterator[None]:
        """How hard the index is searched meanwhile; 0 looks at every row."""
        with self.connection.transaction():
            other = "seqscan" if effort else "indexscan"  # which may seem cheaper to the server, or is not exact
            self.connection.execute(f"SET LOCAL enable_{other} = off")
            if effort:
                self.connection.execute(f"SET LOCAL hnsw.ef_search = {int(effort)}")
            yield


def distance(width: int, effort: int) -> str:
    """The cosine distance to a vector (one parameter): exact without effort, else as the index has it, which is of
    numbers of 16 bits where vectors are wide."""
    if not effort or width <= WIDEST or width > WIDEST_HALF:
        return "embedding <=> %s"
    return f"(embedding::halfvec({width})) <=> (%s::halfvec({width}))"


def shown(address: str) -> str:
    """An address without user, password and options, fit to be printed."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # what is wrong with it is said by who connects
        return "postgresql://..."
    return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


def needed() -> tuple[Any, Any]:
    """psycopg, and what teaches it vectors; MissingError names the extra."""
    try:
        import psycopg
        from pgvector import psycopg as vectors
    except ImportError as error:
        raise MissingError("a database needs psycopg and pgvector: pip install 'selfsight[pgvector]'") from error
    return psycopg, vectors


def _condition(narrow: Narrow) -> tuple[str, list[Any]]:
    """WHERE, and its values."""
    parts: list[tuple[str, Any]] = []
    if narrow.labels:
        parts.append(("label = ANY(%s)", narrow.told))
    if narrow.path:
        parts.append(("path ~ %s", f"^{narrow.expression}$"))
    return ("WHERE " + " AND ".join(text for text, _ in parts) if parts else ""), [value for _, value in parts]


def _array(found: Any) -> Float[np.ndarray, "D"]:
    """A vector as pgvector for Python gives it."""
    return np.asarray(found.to_numpy() if hasattr(found, "to_numpy") else found, np.float32)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
