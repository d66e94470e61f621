"""What `selfsight pack` wrote, as a table: shard, offset, length and digest of each picture, and what is said of it.

Nothing of a shard is read for it: the header of every picture was taken when it was packed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from selfsight.data import remote, tables
from selfsight.data.shards import Place
from selfsight.errors import DataError

__all__ = ["OWN", "TABLE", "VERSION", "Packed", "is_packed", "opened", "shard_name"]

TABLE = "packed.parquet"  # written last: a folder without it is not packed yet
VERSION = 1
OWN = ("shard", "offset", "length", "digest", "name", "source", "width", "height", "channels", "dtype", "format")
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
    try:
        table = parquet.read_table(pa.BufferReader(remote.whole(file)) if remote.is_address(file) else file)
        facts = {key.decode(): json.loads(text) for key, text in (table.schema.metadata or {}).items() if key in FACTS}
        if facts["version"] != VERSION or set(OWN) - set(table.column_names):
            raise ValueError(f"version {facts['version']}")
        return Packed(place, table, facts["kind"], tuple(facts["titles"]))
    except FileNotFoundError as error:
        raise DataError(f"{place!r} holds no {TABLE}; give the address of what `selfsight pack` wrote.") from error
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{file!r} cannot be read ({error}); pack the pictures again.") from error
