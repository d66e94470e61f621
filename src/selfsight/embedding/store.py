"""Embeddings on disk: a memory-mappable array, a table that says whose row is whose, and the encoder they belong to.

A change is prepared beside the three files and becomes theirs in one moment, when `embeddings.json.new` appears: from
then on whoever looks next brings it into place. So a kill leaves what was there before, or what was to be.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float, Int

from selfsight import checkpoints
from selfsight.data import tables
from selfsight.data.bad import add_bad_files
from selfsight.data.pictures import Pictures, write_bad_files
from selfsight.errors import DiskError, RunError, TrainingError
from selfsight.runs import RunFolder

__all__ = ["Stored", "alone", "digest", "facts_for", "facts_of", "read", "shown", "write"]

HEADER = 128  # bytes before the numbers: a multiple of 64, so that they can be mapped (NumPy's format.py, version 1.0)
ENCODER = ("config.json", "model.safetensors", "preprocess.json", "whitening.safetensors")
TABLE, ARRAY, FACTS = ("embeddings.parquet", "embeddings.npy", "embeddings.json")
COLUMNS = {  # of the table, beside `row`
    "path": pyarrow.string(),
    "label": pyarrow.string(),
    "file": pyarrow.binary(),
    "digest": pyarrow.string(),
    "length": pyarrow.float32(),
}
LARGEST = 1 << 14  # of what an encoder sees: side in pixels, or words
BLOCK = 4096  # rows that are copied at once
TRIES, PAUSE = 5, 0.1  # to read what somebody is changing: how often, and seconds in between
Parts = Iterable[tuple[Float[np.ndarray, "B ..."], Int[np.ndarray, "B"]]]


@dataclass(frozen=True, eq=False)
class Stored:
    """What a folder holds: `vectors` are mapped, not read; `table` is as `_table` makes it, with a column `row`."""

    vectors: Float[np.ndarray, "N ..."]
    table: pyarrow.Table
    facts: Mapping[str, Any]

    def blocks(self, rows: Int[np.ndarray, "K"]) -> Iterator[Float[np.ndarray, "B ..."]]:
        """The vectors of some rows, block by block."""
        return (self.vectors[rows[start : start + BLOCK]] for start in range(0, len(rows), BLOCK))


Kept = tuple[Stored, Int[np.ndarray, "K"]]


def shown(name: str) -> str:
    """A file's name, or a label, as text: what is not UTF-8 is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def digest(encoder: Path) -> str:
    """SHA-256 of an encoder's folder: what decides its vectors. The same as `cat` of ENCODER `| sha256sum`."""
    found = hashlib.sha256()
    for name in ENCODER:
        if (encoder / name).exists():
            with open(encoder / name, "rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()


def facts_for(run: RunFolder, kind: str, patches: bool = False) -> dict[str, Any]:
    """What embeddings.json says of the encoder: which it is, where, and what it sees."""
    owner, where = digest(run.encoder_folder()), str(run.folder.absolute())
    seen = {"size": run.recipe.size, "least_side": run.recipe.least_side}
    return {"encoder": owner, "run": where, "kind": kind, **seen, "patches": patches}


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What embeddings.json says; None where there is none."""
    with suppress(OSError, ValueError):
        return checkpoints.entries(folder / FACTS)
    return None


def read(folder: Path) -> Stored:
    """What `write` wrote last, whole. RunError when there is nothing, or it is damaged."""
    for _ in range(TRIES):
        with suppress(RunError, OSError), alone(folder):
            _settle(folder)
        with suppress(OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException):
            facts = checkpoints.entries(folder / FACTS)
            whole = checkpoints.is_signed(facts, (folder / FACTS).read_bytes())
            vectors = _mapped(folder / ARRAY, facts)  # before the table, which changes first
            table = tables.parquet_bytes(folder / TABLE)
            if whole and _hash(table) == facts["table"]:
                found = Stored(vectors, tables.parquet_table(table), facts)
                found.table.validate(full=True)
                if _fits(found):
                    return found
        if not (folder / FACTS).exists():
            raise RunError(f"{str(folder)!r} holds no embeddings; give a run, or a folder that `selfsight embed` wrote")
        time.sleep(PAUSE)  # somebody is changing it
    raise RunError(f"the embeddings in {str(folder)!r} are damaged or of an older Selfsight; embed the pictures again")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time may change a folder; RunError when another does. A lock dies with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{str(folder)!r} is being changed by another process; wait for it") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def write(
    folder: Path, parts: Parts, pictures: Pictures | None, facts: Mapping[str, Any], kept: Kept | None = None
) -> Path:
    """embeddings.npy, embeddings.parquet (see `_table`), bad_files.csv, and embeddings.json: `facts` and shape.

    `parts` go to disk as they come, behind what is `kept` of what was there, so that memory holds one of them. What
    was there stands until all is on disk. Raises DiskError, RunError when another process writes, and what `parts`
    raises.
    """
    note = write_bad_files if kept is None else add_bad_files
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            _settle(folder)
            if kept and (facts_of(folder) or {}).get("table") != kept[0].facts["table"]:
                raise RunError(f"{str(folder)!r} was changed by another process; give the same command again")
            for name in ("embeddings.*", "bad_files.csv"):
                checkpoints.clean(folder, name)
            table, shape = _prepare(folder, parts, pictures, kept)
            if pictures is not None:
                note(folder / "bad_files.csv", pictures.bad_files)
            content = {**facts, "count": shape[0], "width": shape[-1], "shape": shape, "dtype": "float32"}
            _change(folder, table, content)
    except OSError as error:
        raise DiskError(
            f"{str(folder)!r} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
    except TrainingError:  # too many bad files: its sentence sends the reader to the list
        if pictures is not None:
            note(folder / "bad_files.csv", pictures.bad_files)
        raise
    return folder


def _prepare(folder: Path, parts: Parts, pictures: Pictures | None, kept: Kept | None) -> tuple[bytes, list[int]]:
    """embeddings.npy.new, written and synced; the table that belongs to it, as a Parquet file, and its shape."""
    partial = folder / f"{ARRAY}.tmp-{os.getpid()}"
    try:
        shape, rows, lengths = _append(partial, kept[0].blocks(kept[1]) if kept else (), parts)
        tables = [] if pictures is None else [_table(pictures, rows, lengths)]
        if kept:
            tables.insert(0, kept[0].table.take(kept[1]).drop_columns(["row"]))
        table = pyarrow.concat_tables(tables)
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table.append_column("row", pyarrow.array(np.arange(len(table)))), sink)
        partial.replace(folder / f"{ARRAY}.new")
    finally:
        partial.unlink(missing_ok=True)
    return bytes(sink.getvalue().to_pybytes()), shape


def _change(folder: Path, table: bytes, facts: Mapping[str, Any]) -> None:
    checkpoints.replace_file(folder / f"{TABLE}.new", table)
    told = {**facts, "table": _hash(table), "array": _sum(folder / f"{ARRAY}.new")}
    content = checkpoints.signed(told)
    checkpoints.replace_file(folder / f"{FACTS}.new", content)  # the moment: what comes after, anybody can finish
    _settle(folder)


def _settle(folder: Path) -> None:
    """Bring into place what was decided. Facts come last: while they are the old ones, the table does not fit them."""
    if (folder / f"{FACTS}.new").exists():
        for name in (TABLE, ARRAY, FACTS):
            with suppress(FileNotFoundError):
                (folder / f"{name}.new").replace(folder / name)


def _append(
    path: Path, blocks: Iterable[Float[np.ndarray, "B ..."]], parts: Parts
) -> tuple[list[int], Int[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Write an .npy whose length is known only at the end, to disk; its shape, and rows and lengths of the `parts`."""
    kept, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    count, each = 0, (0,)
    with open(path, "wb") as file:
        file.write(bytes(HEADER))
        for vectors in blocks:
            file.write(np.ascontiguousarray(vectors, "<f4").data)
            count, each = count + len(vectors), vectors.shape[1:]
        for vectors, rows in parts:
            file.write(np.ascontiguousarray(vectors, "<f4").data)
            count, each = count + len(vectors), vectors.shape[1:]
            kept.append(rows)
            lengths.append(np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1).astype(np.float32))
        shape = [count, *each]
        file.seek(0)
        file.write(_header(shape))
        file.flush()
        os.fsync(file.fileno())
    return shape, np.concatenate(kept), np.concatenate(lengths)


def _header(shape: list[int]) -> bytes:
    """Magic, version, length, and a dictionary padded with spaces to HEADER bytes in all."""
    told = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}).encode()
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + told.ljust(HEADER - 11) + b"\n"


def _table(pictures: Pictures, rows: Int[np.ndarray, "N"], lengths: Float[np.ndarray, "N"]) -> pyarrow.Table:
    """Whose vector it is: its name and label for people, its file (bytes, as not every name is text), the digest of
    what was in it, the length of its vector."""
    manifest = pictures.manifest
    labels = [shown(manifest.classes[label]) if label >= 0 else None for label in manifest.labels[rows]]
    names = [shown(manifest.names[row]) for row in rows]
    files = [os.fsencode(manifest.paths[row]) for row in rows]
    digests = [manifest.digests[row] for row in rows]
    columns = zip(COLUMNS.items(), (names, labels, files, digests, lengths), strict=True)
    return pyarrow.table({name: pyarrow.array(values, kind) for (name, kind), values in columns})


def _mapped(file: Path, facts: Mapping[str, Any]) -> Float[np.ndarray, "N ..."]:
    """The array, mapped; ValueError when a byte of it is not what was written."""
    with open(file, "rb") as opened:
        if opened.read(HEADER) != _header(facts["shape"]):  # so that NumPy reads no other header than ours
            raise ValueError("another header")
        if os.stat(opened.fileno()).st_size != HEADER + 4 * prod(facts["shape"]):
            raise ValueError("another length")
    if _sum(file) != facts["array"]:
        raise ValueError("another checksum")
    found: np.ndarray = np.load(file, mmap_mode="c")
    return found


def _sum(file: Path) -> int:
    """CRC-32: it finds a flipped bit as surely as SHA-256, and in half the time (4 GB/s measured)."""
    found = 0
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _fits(stored: Stored) -> bool:
    """Whether a stranger's folder says what ours do: of every vector, in the right words."""
    kinds = {"encoder": str, "run": str, "kind": str, "size": int, "patches": bool}
    named = all(isinstance(stored.facts[name], kind) for name, kind in kinds.items())
    columns = {name: stored.table.column(name) for name in ("row", *COLUMNS)}
    told = all(columns[name].type == kind for name, kind in {"row": pyarrow.int64(), **COLUMNS}.items())
    told &= all(name == "label" or not column.null_count for name, column in columns.items())
    return named and 0 < stored.facts["size"] <= LARGEST and told and len(stored.table) == len(stored.vectors)


def _hash(table: bytes) -> str:
    return hashlib.blake2b(table, digest_size=16).hexdigest()
