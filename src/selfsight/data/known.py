"""What scans found in files, kept so that the next one need not read them: a file is known by its size and its times.

One table in the cache for the files below a folder. What cannot be trusted is read again: a file that was changed a few
seconds ago (clocks of file systems are coarse), and everything where the table is damaged. Of several processes the
last one's table stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from selfsight import checkpoints
from selfsight.data import cache, remote, tables
from selfsight.data.decode import Header
from selfsight.data.source import Row, Seen

__all__ = ["Known"]

LAYOUT = 2  # to be raised when what is said of a file changes
FRESH = 3_000_000_000  # nanoseconds; FAT counts in two seconds
SEAL = 16  # bytes in front of the table: its digest
WORTH = 64  # files that had to be read: fewer are as quickly read again

Stamp = tuple[int, int, int]  # bytes; nanoseconds of the last change of the contents, and of anything about the file
NUMBERS = ("size", "modified", "changed", "width", "height", "channels")
TEXTS = ("path", "digest", "dtype", "format")


class Known:
    """What is known of the files of `rows`, which are of one kind."""

    def __init__(self, rows: Sequence[Row], kind: str) -> None:
        paths = [row.path for row in rows if row.seen is None and not remote.is_address(row.path)]
        shared = os.path.commonpath([min(paths), max(paths)]) if paths else ""
        owner = blake2b(os.fsencode(f"{LAYOUT} {kind} {shared}"), digest_size=16).hexdigest()
        self._file = cache.folder() / f"known-{owner}.parquet"
        self._told: dict[str, tuple[Any, ...]] = {}  # by path: its numbers, and its texts but for the path
        if paths:
            with suppress(OSError, ValueError, KeyError, pa.ArrowException):
                self._told = _read(self._file)
        self._stamps: dict[str, Stamp] = {}  # of the files that must be read

    def recalled(self, rows: Iterable[Row]) -> list[Row]:
        """The rows; those that need not be read say what was seen."""
        return [row if row.seen else row._replace(seen=self._recall(row.path)) for row in rows]

    def _recall(self, path: str) -> Seen | None:
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None
        now = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        told = self._told.get(path)
        if told and told[:3] == now:
            *_, width, height, channels, digest, dtype, form = told
            return Seen(now[0], digest, Header(width, height, channels, dtype, form))
        if max(now[1:]) < time.time_ns() - FRESH:
            self._stamps[path] = now
        return None

    def keep(self, found: Iterable[tuple[str, Seen]]) -> None:
        """Write down what was read, by its path, where it is worth it and there is room."""
        new = {path: (self._stamps[path], seen) for path, seen in found if path in self._stamps}
        new = {path: (stamp, seen) for path, (stamp, seen) in new.items() if stamp[0] == seen.size}
        if len(new) < WORTH:
            return
        for path, (stamp, (_, digest, header)) in new.items():
            numbers = (*stamp, header.width, header.height, header.channels)
            self._told[path] = (*numbers, digest, header.dtype, header.format)
        columns = list(zip(*self._told.values(), strict=True))
        made: dict[str, Any] = {name: np.array(columns[i], np.int64) for i, name in enumerate(NUMBERS)}
        texts = (list(self._told), *columns[len(NUMBERS) :])
        made |= {name: tables.column_of(values) for name, values in zip(TEXTS, texts, strict=True)}
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(made), sink, use_dictionary=["dtype", "format"])
        content = _sealed(sink.getvalue().to_pybytes())
        with suppress(OSError):
            if cache.room(len(content)) == len(content):
                checkpoints.replace_file(self._file, content)


def _read(file: Path) -> dict[str, tuple[Any, ...]]:
    content = file.read_bytes()
    if content != _sealed(content[SEAL:]):
        raise ValueError("damaged")
    table = parquet.read_table(tables.reader(content[SEAL:]))
    columns = [table[name].to_pylist() for name in NUMBERS]
    paths, *texts = (tables.values_of(table[name]) for name in TEXTS)
    os.utime(file)
    return dict(zip(paths, zip(*columns, *texts, strict=True), strict=True))


def _sealed(table: bytes) -> bytes:
    return blake2b(table, digest_size=SEAL).digest() + table
