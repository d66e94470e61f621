"""Pictures into tar shards that WebDataset reads too, and a table that says where each of them lies.

Shards and table follow from the pictures alone. So a start after a stop finds the finished shards, compares every byte
of them, and writes the rest. A shard has its name when it is whole; the table comes last.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from selfsight.data.source import Listing
from selfsight.errors import DataError, DiskError, RunError

__all__ = ["SHARD", "pack"]

SHARD = 1 << 28  # bytes after which a shard is full
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
ENDINGS = {"jpeg": "jpg", "tiff": "tif", "pnm": "ppm", "text": "txt"}  # where the format's name is not the usual ending
OURS = ("shard-*.tar", "*.tmp-*", packed.TABLE, checkpoints.SEAL, "bad_files.csv")  # what a folder to write may hold
Tell = Callable[[int], None]


class Member(NamedTuple):
    """One picture in its shard: 000000042.jpg, and 000000042.json behind it."""

    one: Described
    before: bytes  # the head of the picture's file
    after: bytes  # padding, and the description with its head
    offset: int  # of the picture's bytes


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
        found = _written(listing, out, shards, table, tell)
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
    listing: Listing, out: Path, shards: Sequence[Sequence[Member]], table: pa.Table, tell: Tell
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
    for number, members in enumerate(shards):
        file = out / packed.shard_name(number)
        if _same(file, _pieces(listing.kind, members)):
            kept += 1
        else:
            _write(file, _pieces(listing.kind, members))
        done, size = done + len(members), size + file.stat().st_size
        tell(done)
    return {"shards": len(shards), "kept": kept, "bytes": size}


def _planned(seen: Sequence[Described], most: int) -> Iterator[list[Member]]:
    """Which pictures lie in which shard, and where."""
    members, offset = list[Member](), 0
    for number, one in enumerate(seen):
        row, key = one.row, f"{number:09d}"
        said = {"name": row.name, "label": row.label, "group": row.group, "split": row.split}
        text = json.dumps(said).encode()
        before = _head(f"{key}.{ENDINGS.get(one.header.format, one.header.format)}", one.size)
        after = _padding(one.size) + _head(f"{key}.json", len(text)) + text + _padding(len(text))
        members.append(Member(one, before, after, offset + len(before)))
        offset = members[-1].offset + one.size + len(after)
        if offset >= most:
            yield members
            members, offset = [], 0
    if members:
        yield members


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


def _pieces(kind: str, members: Sequence[Member]) -> Iterator[bytes]:
    """The bytes of a shard, pictures read some ahead."""
    waiting = deque[tuple[Member, Future[bytes]]]()
    with ThreadPoolExecutor(READERS, thread_name_prefix="pack") as pool:
        for number in range(len(members) + READERS):
            if number < len(members):
                waiting.append((members[number], pool.submit(_content, kind, members[number].one)))
            if number >= READERS:
                member, content = waiting.popleft()
                yield member.before + content.result() + member.after
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
    shards: Sequence[Sequence[Member]],
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
        "shard": pa.array([number for number, members in enumerate(shards) for _ in members], pa.int32()),
        "offset": pa.array([member.offset for members in shards for member in members], pa.int64()),
        "length": pa.array([one.size for one in seen], pa.int64()),
        "digest": tables.column_of([one.digest for one in seen]),
        "source": pa.array([row.source for row in rows], pa.int32()),
        **{name: [getattr(header, name) for header in headers] for name in ("width", "height", "channels")},
        **{name: [getattr(header, name) for header in headers] for name in ("dtype", "format")},
    }
    facts = {"version": packed.VERSION, "kind": listing.kind, "titles": listing.titles}
    return pa.table(columns).replace_schema_metadata({key: json.dumps(value) for key, value in facts.items()})
