"""Pictures into tar shards that WebDataset reads too, and a table that says where each of them lies.

Shards and table follow from the pictures alone. So a start after a stop finds the finished shards, compares every byte
of them, and writes the rest. A shard has its name when it is whole; the table comes last.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from selfsight import checkpoints
from selfsight.data import packed, tables
from selfsight.data.bad import write_bad_files
from selfsight.data.decode import Refused
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import READERS, Described, described
from selfsight.data.shards import content_digest
from selfsight.data.source import Listing, Row
from selfsight.data.threads import in_order
from selfsight.errors import DataError, DiskError, RunError

__all__ = ["SHARD", "pack"]

SHARD = 1 << 28  # bytes after which a shard is full
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
ENDINGS = {"jpeg": "jpg", "tiff": "tif", "pnm": "ppm", "text": "txt"}  # where the format's name is not the usual ending
OURS = ("shard-*.tar", "*.tmp-*", packed.TABLE, checkpoints.SEAL, "bad_files.csv")  # what a folder to write may hold
Tell = Callable[[int], None]


class Shard(NamedTuple):
    """Which pictures lie in it, and where: of millions no more than a number each."""

    first: int  # picture; the others follow it
    offsets: array[int]  # of each picture's bytes


def pack(
    listing: Listing,
    out: Path,
    more: Mapping[str, Sequence[str | None]] | None = None,
    *,
    most: int = SHARD,
    tell: Tell = lambda done: None,
) -> dict[str, Any]:
    """Write the pictures of a listing into `out`, in its order, or complete what is there; how much it came to.

    `more` are further columns, a value for each row of the listing. Files that cannot be read are left out and named in
    bad_files.csv. Raises DataError, RunError for a folder of other things, DiskError.
    """
    strangers = {path.name for path in out.glob("*")} - {path.name for ours in OURS for path in out.glob(ours)}
    if strangers or (out.exists() and not out.is_dir()):
        raise RunError(f"{str(out)!r} is not an empty folder; name another to pack into")
    there = list(out.glob("shard-*.tar"))
    if there and not packed.is_packed(out) and not any(map(_begins_as_ours, there)):
        raise RunError(f"{str(out)!r} holds shards that Selfsight did not write; name another folder")
    seen, bad = described(listing)
    shards = list(_planned(seen, most))
    table = _table(listing, seen, shards, more or {})
    try:
        out.mkdir(parents=True, exist_ok=True)
        checkpoints.clean(out)
        found = _written(listing.kind, out, seen, shards, table, tell)
        write_bad_files(out / "bad_files.csv", bad)
        for extra in sorted(out.glob("shard-*.tar"))[len(shards) :]:  # of a start that was stopped, on more pictures
            extra.unlink()
        if not packed.is_packed(out):  # else it says the same, perhaps in the bytes of another pyarrow
            sink = pa.BufferOutputStream()
            parquet.write_table(table, sink)
            written = sink.getvalue().to_pybytes()
            checkpoints.replace_file(out / checkpoints.SEAL, checkpoints.sealing({packed.TABLE: written}))
            checkpoints.replace_file(out / packed.TABLE, written)
    except OSError as error:
        raise DiskError(
            f"{str(out)!r} cannot be written ({error.strerror or error}); free some space and give the same command "
            "again: finished shards are kept"
        ) from error
    return {"out": str(out), "pictures": len(seen), "unreadable": len(bad), **found}


def _written(
    kind: str, out: Path, seen: Sequence[Described], shards: Sequence[Shard], table: pa.Table, tell: Tell
) -> dict[str, int]:
    """Write the shards that are not whole yet."""
    if packed.is_packed(out):
        try:
            same = packed.opened(str(out)).table.equals(table, check_metadata=True)
        except DataError as error:
            raise RunError(
                f"{str(out / packed.TABLE)!r} is damaged; remove it and give the same command again"
            ) from error
        if not same:
            raise RunError(f"{str(out)!r} holds other pictures, or the same with other labels; name another folder")
    kept = done = size = 0
    for number, shard in enumerate(shards):
        file = out / packed.shard_name(number)
        if _same(file, _pieces(kind, seen, shard)):
            kept += 1
        else:
            _write(file, _pieces(kind, seen, shard))
        done, size = done + len(shard.offsets), size + file.stat().st_size
        tell(done)
    return {"shards": len(shards), "kept": kept, "bytes": size}


def _planned(seen: Sequence[Described], most: int) -> Iterator[Shard]:
    """Which pictures lie in which shard, and where. Each has a head before it, and its description with one behind."""
    first, offsets, end = 0, array("q"), 0
    for number, one in enumerate(seen):
        offsets.append(end + BLOCK)
        end += 2 * BLOCK + sum(size + len(_padding(size)) for size in (one.size, len(_said(one.row))))
        if end >= most:
            yield Shard(first, offsets)
            first, offsets, end = number + 1, array("q"), 0
    if offsets:
        yield Shard(first, offsets)


def _around(number: int, one: Described) -> tuple[bytes, bytes]:
    """What lies before a picture's bytes in its shard, and behind: 000000042.jpg, and 000000042.json behind it."""
    key, text = f"{number:09d}", _said(one.row)
    before = _head(f"{key}.{ENDINGS.get(one.header.format, one.header.format)}", one.size)
    return before, _padding(one.size) + _head(f"{key}.json", len(text)) + text + _padding(len(text))


def _said(row: Row) -> bytes:
    """What is said of a picture."""
    return json.dumps({"name": row.name, "label": row.label, "group": row.group, "split": row.split}).encode()


def _head(name: str, size: int) -> bytes:
    """A tar header that says nothing of user, machine or time."""
    head = tarfile.TarInfo(name)
    head.size = size
    return head.tobuf(tarfile.USTAR_FORMAT)


def _begins_as_ours(file: Path) -> bool:
    """Whether a shard's first head is one that `_head` makes; WebDataset itself gives shards these names as well."""
    with suppress(OSError, tarfile.TarError, ValueError), open(file, "rb") as shard:
        first = shard.read(BLOCK)
        head = tarfile.TarInfo.frombuf(first, tarfile.ENCODING, "surrogateescape")
        return re.fullmatch(r"\d{9}\.\w+", head.name) is not None and first == _head(head.name, head.size)
    return False


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _pieces(kind: str, seen: Sequence[Described], shard: Shard) -> Iterator[bytes]:
    """The bytes of a shard, pictures read some ahead."""
    numbers = range(shard.first, shard.first + len(shard.offsets))
    contents = in_order(lambda number: _content(kind, seen[number]), numbers, READERS)
    for number, content in zip(numbers, contents, strict=True):
        before, after = _around(number, seen[number])
        yield before + content + after
    yield END


def _content(kind: str, one: Described) -> bytes:
    try:
        data = KINDS[kind].read(one.row.path)
    except Refused as refused:
        raise DataError(f"{one.row.name!r} can no longer be read ({refused}); give the same command again") from refused
    if content_digest(data) != one.digest:
        raise DataError(f"{one.row.name!r} was changed while it was packed; give the same command again")
    return data


def _same(file: Path, pieces: Iterator[bytes]) -> bool:
    """Whether the file is there and holds just these bytes."""
    if not file.is_file():
        return False
    with open(file, "rb") as written:
        return all(written.read(len(piece)) == piece for piece in pieces) and not written.read(1)


def _write(file: Path, pieces: Iterator[bytes]) -> None:
    partial = file.with_name(f"{file.name}.tmp-{os.getpid()}")
    try:
        with open(partial, "wb") as written:
            written.writelines(pieces)
            written.flush()
            os.fsync(written.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _table(
    listing: Listing,
    seen: Sequence[Described],
    shards: Sequence[Shard],
    more: Mapping[str, Sequence[str | None]],
) -> pa.Table:
    """One row for each picture, as `packed` reads it."""
    rows, headers = [one.row for one in seen], [one.header for one in seen]
    place = {row.path: number for number, row in enumerate(listing.rows)}
    kept = [place[row.path] for row in rows]
    columns = {name: tables.column_of([values[number] for number in kept]) for name, values in more.items()}
    columns |= {
        name: tables.column_of([getattr(row, name) for row in rows]) for name in ("name", "label", "group", "split")
    }
    columns |= {
        "shard": pa.array([number for number, shard in enumerate(shards) for _ in shard.offsets], pa.int32()),
        "offset": pa.array([offset for shard in shards for offset in shard.offsets], pa.int64()),
        "length": pa.array([one.size for one in seen], pa.int64()),
        "digest": tables.column_of([one.digest for one in seen]),
        "source": pa.array([row.source for row in rows], pa.int32()),
        **{name: [getattr(header, name) for header in headers] for name in ("width", "height", "channels")},
        **{name: [getattr(header, name) for header in headers] for name in ("dtype", "format")},
    }
    facts = {"version": packed.VERSION, "kind": listing.kind, "titles": listing.titles}
    return pa.table(columns).replace_schema_metadata({key: json.dumps(value) for key, value in facts.items()})
