"""What `selfsight pack` wrote, as a table: shard, offset, length and digest of each picture, and what is said of it.

Nothing of a shard is read for it: the header of every picture was taken when it was packed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from selfsight import checkpoints
from selfsight.data import remote, tables
from selfsight.data.shards import Place
from selfsight.errors import AddressError, DataError, brief

__all__ = ["OWN", "TABLE", "VERSION", "Packed", "is_packed", "opened", "shard_name"]

TABLE = "packed.parquet"  # written last: a folder without it is not packed yet
VERSION = 1
OWN = ("shard", "offset", "length", "digest", "name", "source", "width", "height", "channels", "dtype", "format")
TEXTS = ("digest", "name", "dtype", "format")  # of these; the others are numbers
FACTS = (b"version", b"kind", b"titles")


class Packed(NamedTuple):
    """The table, and what holds for all of it."""

    place: str  # of the folder, without a slash at its end
    table: pa.Table  # the columns OWN, label, group, split, and the user's own
    kind: str
    titles: tuple[str, ...]  # of the sources that were packed

    def column(self, name: str) -> Sequence[Any]:
        """One column as plain values."""
        return tables.values_of(self.table[name])

    def addresses(self) -> Iterator[str]:
        """Where each picture lies, as `shards.at` reads it."""
        places = zip(*map(self.column, ("shard", "offset", "length", "digest")), strict=True)
        return (str(Place(f"{self.place}/{shard_name(shard)}", *place)) for shard, *place in places)


def _of_ours(table: pa.Table) -> pa.Table:
    """The table; ValueError when a column that `pack` writes is of another type, or has gaps."""
    for name in OWN:
        kind = table.schema.field(name).type
        text = pa.types.is_string(kind) or (name == "name" and pa.types.is_binary(kind))
        if table[name].null_count or not (text if name in TEXTS else pa.types.is_integer(kind)):
            raise ValueError(f"column {name!r} is not what was packed")
    return table


def _local(file: str) -> bytes:
    return Path(file).read_bytes()


def shard_name(number: int) -> str:
    """As WebDataset's brace notation counts: shard-{000000..000123}.tar."""
    return f"shard-{number:06d}.tar"


def is_packed(folder: Path) -> bool:
    """Whether this folder holds finished shards."""
    return (folder / TABLE).is_file()


def opened(place: str) -> Packed:
    """Read the table of a folder or an address. Raises DataError when there is none, AddressError."""
    place = place.removesuffix(f"/{TABLE}").rstrip("/")
    file = f"{place}/{TABLE}"
    read = remote.whole if remote.is_address(file) else _local
    try:
        data = read(file)
        with suppress(FileNotFoundError, AddressError):  # of an older Selfsight
            if read(f"{place}/{checkpoints.SEAL}") != checkpoints.sealing({TABLE: data}):
                raise ValueError("it does not match its digest: it was damaged or changed")
        table = tables.parquet_table(data)
        facts = {key.decode(): json.loads(text) for key, text in (table.schema.metadata or {}).items() if key in FACTS}
        if facts["version"] != VERSION or set(OWN) - set(table.column_names):
            raise ValueError(f"version {facts['version']}")
        table.validate(full=True)
        return Packed(place, _of_ours(table), str(facts["kind"]), tuple(map(str, facts["titles"])))
    except FileNotFoundError as error:
        raise DataError(f"{place!r} holds no {TABLE}; give the address of what `selfsight pack` wrote.") from error
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{file!r} cannot be read ({brief(error)}); pack the pictures again.") from error
