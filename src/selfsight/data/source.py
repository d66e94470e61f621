"""From what the user calls DATA to a listing of samples: a folder, a list file, a table, or several of them joined."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from selfsight.data import packed, remote, shards, splits, tables
from selfsight.data.bad import BadFile
from selfsight.data.classes import from_folders
from selfsight.data.decode import Header
from selfsight.data.kinds import KINDS, Kind
from selfsight.data.walk import is_candidate, walk
from selfsight.errors import DataError, brief, unknown

INSIDE = ("labels.csv", "labels.parquet")  # a folder that holds one of these, with a column `path`, is read through it


class Seen(NamedTuple):
    """What was found when a picture was packed: bytes of its file, their digest, what they hold."""

    size: int
    digest: str
    header: Header


class Row(NamedTuple):
    """One picture: where it is, its name as the user knows it, and what is said about it (None: nothing)."""

    path: str
    name: str
    label: str | None = None
    group: str | None = None
    split: str | None = None  # "train" or "test"
    source: int = 0
    seen: Seen | None = None  # where it need not be read again to be described


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called."""

    label: str = "label"
    group: str = "group"
    split: str = "split"
    inherited: Collection[str] = ()  # which of these nobody named: where they are not there, the usual ones may be

    def there(self, names: Collection[str]) -> Columns:
        """Those to look for in a table that has columns of these names."""
        lacking = [one for one in self.inherited if getattr(self, one) not in names]
        return replace(self, inherited=(), **{one: getattr(Columns, one) for one in lacking})


@dataclass(frozen=True)
class Listing:
    """The pictures that DATA names, none of them opened yet; sorted by name within a source."""

    rows: tuple[Row, ...]
    titles: tuple[str, ...]  # one for each source
    refused: tuple[BadFile, ...] = ()
    notes: tuple[str, ...] = ()  # plain sentences: what was decided
    kind: str = "pictures"  # of `kinds.KINDS`

    @property
    def paths(self) -> tuple[str, ...]:
        """Absolute paths."""
        return tuple(row.path for row in self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names as the user knows them: relative to the source, behind its title when there are several."""
        return tuple(row.name for row in self.rows)

    @property
    def labels(self) -> tuple[str | None, ...]:
        """Labels; None is unlabelled."""
        return tuple(row.label for row in self.rows)

    @property
    def groups(self) -> tuple[str | None, ...]:
        """Groups of a source that must not straddle a split; None is a group of its own."""
        return tuple(row.group for row in self.rows)

    @property
    def splits(self) -> tuple[str | None, ...]:
        """ "train" or "test"; None where the source says nothing."""
        return tuple(row.split for row in self.rows)


def find(
    data: str | Path | Sequence[str | Path],
    *,
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    shared_labels: bool = False,
    inherited: Collection[str] = (),
    kind: str = "pictures",
) -> Listing:
    """List the samples of DATA: a folder, a list file (.txt), a table (.csv, .tsv, .parquet), shards that were packed
    (a folder or an address), or several of them.

    Labels of two sources are different labels unless `shared_labels`. A source may lack columns that are `inherited`:
    then the usual one is looked for. Raises DataError when there is nothing to list.
    """
    items = [data] if isinstance(data, str | Path) else list(data)
    if not items:
        raise DataError("no DATA was given; name a folder, a list file or a table.")
    columns = Columns(label_column, group_column, split_column, inherited)
    listings = [replace(_one(str(item), columns, KINDS[kind]), kind=kind) for item in items]
    return listings[0] if len(listings) == 1 else _join(listings, shared_labels)


def values(
    data: str | Path | Sequence[str | Path], column: str, kind: str, *, group: str, split: str
) -> dict[str, str | None]:
    """What a column of DATA's table says of each sample, by the sample's name; an empty cell is None.

    `group` and `split` are the columns of these, if there. Raises DataError when there is no table, or no such column.
    """
    named = {"label_column": column, "group_column": group, "split_column": split}
    listing = find(data, **named, inherited=("group", "split"), shared_labels=True, kind=kind)
    return dict(zip(listing.names, listing.labels, strict=True))


def further(data: str | Path | Sequence[str | Path], columns: Columns) -> tuple[list[str], list[str]]:
    """What else the columns of DATA's table are called, and those whose names shards have for something else; nothing
    where DATA is several, or has no table."""
    items = [data] if isinstance(data, str | Path) else list(data)
    names: Iterable[str] = ()
    if len(items) == 1:
        item = Path(items[0])
        if remote.is_address(str(items[0])) or packed.is_packed(item):
            names = [name for name in packed.opened(str(items[0])).table.column_names if name not in packed.OWN]
        elif file := next((file for file in (item, *(item / name for name in INSIDE)) if _is_table(file)), None):
            names = tables.read_columns(file)
    read = (tables.PATH, columns.label, columns.group, columns.split)
    theirs = (*packed.OWN, *vars(Columns()).values())
    others = [name for name in names if name not in read]
    return [name for name in others if name not in theirs], [name for name in others if name in theirs]


def kind_of(data: str | Path | Sequence[str | Path]) -> str:
    """What DATA holds by the endings of its names: the first kind that is there, pictures where none is."""
    for kind in KINDS.values():
        with suppress(DataError):
            if any(row.seen or is_candidate(row.path, kind.endings) for row in find(data, kind=kind.name).rows):
                return kind.name
    return next(iter(KINDS))


def _one(item: str, columns: Columns, kind: Kind) -> Listing:
    data = Path(item)
    if remote.is_address(item) or packed.is_packed(data):
        return _packed(packed.opened(item if remote.is_address(item) else os.path.abspath(item)), columns, kind)
    if not os.path.lexists(data):
        raise DataError(f"{str(data)!r} does not exist; check the spelling, or whether its disk is mounted.")
    if data.is_dir():
        return _folder(data, columns, kind)
    if data.suffix.lower() in tables.TABLES:
        return _table(data, columns)
    if data.suffix.lower() in tables.LISTS:
        return _sorted(data, [_row(data, name) for name in tables.read_list(data)], f"the list {data.name!r}")
    raise DataError(
        f"{str(data)!r} is neither a folder, a list (.txt) nor a table (.csv, .tsv, .parquet); put single pictures "
        "into a folder or a list."
    )


def _folder(folder: Path, columns: Columns, kind: Kind) -> Listing:
    unread = []
    for name in (name for name in INSIDE if (folder / name).is_file()):
        if tables.PATH in (there := tables.read_columns(folder / name)):
            return _table(folder / name, columns)
        unread.append(f"{name} has no column {tables.PATH!r} (it has {brief(', '.join(there))}), so it is not read.")
    if columns.there(()) != Columns():
        raise DataError(f"{str(folder)!r} holds no labels.csv, so it has no columns to choose; give a table as DATA.")
    found = walk(str(folder), kind.endings)
    if not found.names:
        bad = f" ({len(found.refused)} files were refused)" if found.refused else ""
        looked = f"{str(folder)!r} holds no {kind.one}{bad}; looked for {', '.join(kind.opened.split())}"
        raise DataError(f"{looked}{_others(folder, kind)}.")
    said, root = from_folders(found.names), os.path.abspath(folder)
    parts = _parts(said.splits, str(folder))
    rows = [
        Row(os.path.join(root, name), name, label, None, part)
        for name, label, part in zip(found.names, said.labels, parts, strict=True)
    ]
    return Listing(tuple(rows), (_title(folder),), tuple(found.refused), (*unread, *found.notes, *said.notes))


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in tables.TABLES and file.is_file()


def _others(folder: Path, kind: Kind) -> str:
    """What the folder holds instead, and who would take it."""
    there = [other.name for other in KINDS.values() if other is not kind and walk(str(folder), other.endings).names]
    return f". It holds {there[0]}, which other methods learn from: see `selfsight methods`" if there else ""


def _table(file: Path, columns: Columns) -> Listing:
    table = tables.read_columns(file)
    columns = columns.there(table)
    paths = tables.column(table, tables.PATH, file, default=tables.PATH) or []
    blank: list[str | None] = [None] * len(paths)
    label, group, split = (
        tables.column(table, getattr(columns, name), file, default=name) for name in ("label", "group", "split")
    )
    if None in paths:
        raise DataError(f"{str(file)!r}: entry {paths.index(None) + 1} has no path.")
    parts = blank if split is None else [*splits.declared(split, f"{str(file)!r}, column {columns.split!r}")]
    rows = [
        _row(file, str(path), *said) for path, *said in zip(paths, label or blank, group or blank, parts, strict=True)
    ]
    return _sorted(file, rows, f"the table {file.name!r}")


def _packed(found: packed.Packed, columns: Columns, kind: Kind) -> Listing:
    """The pictures of shards, in the order in which they were packed."""
    if found.kind != kind.name:
        raise DataError(f"{found.place!r} holds {found.kind}, which other methods learn from: see `selfsight methods`.")
    names = found.table.column_names
    columns = columns.there(names)
    for own in (columns.label, columns.group, columns.split):
        if own in packed.OWN or own not in names:
            raise DataError(f"{found.place!r}: {unknown('column', own, set(names) - set(packed.OWN))}")
    split = found.column(columns.split)
    if columns.split != Columns.split:
        split = splits.declared(split, f"{found.place!r}, column {columns.split!r}")
    said = (found.column(columns.label), found.column(columns.group), split, found.column("source"))
    facts = ("width", "height", "channels", "dtype", "format")
    headers = (Header(*one) for one in zip(*map(found.column, facts), strict=True))
    seen = map(Seen, found.column("length"), found.column("digest"), headers)
    rows = map(Row, found.addresses(), found.column("name"), *said, seen)
    return Listing(tuple(rows), found.titles, (), (f"{found.place!r} holds packed pictures.",))


def _row(file: Path, name: str, label: str | None = None, group: str | None = None, split: str | None = None) -> Row:
    elsewhere = remote.is_address(name) and shards.at(name)  # as a table that `search` or `browse` wrote has it
    path = name if elsewhere else os.path.join(os.path.abspath(file.parent), name)
    return Row(path, name, label, group, split)


def _key(row: Row) -> str:
    """What two rows of one picture have in common."""
    return row.path if remote.is_address(row.path) else os.path.normpath(row.path)


def _sorted(file: Path, rows: list[Row], what: str) -> Listing:
    """The rows of a list or table, sorted by name, each picture once."""
    if not rows:
        raise DataError(f"{str(file)!r} names no picture; give it one path for each line.")
    once = {_key(row): row for row in reversed(rows)}
    repeated = len(rows) - len(once)
    notes = [f"{what} says which pictures are used."]
    if repeated:
        notes.append(f"{repeated} entries of {what} name a picture again; its first entry counts.")
    title = _title(file.parent if file.name in INSIDE else file.with_suffix(""))
    return Listing(tuple(sorted(once.values(), key=lambda row: row.name)), (title,), (), tuple(notes))


def _parts(values: Sequence[str | None], where: str) -> list[str | None]:
    return [None] * len(values) if set(values) <= {None} else [*splits.declared(values, where)]


def _title(path: Path) -> str:
    return Path(os.path.abspath(path)).name or "root"


def _join(listings: list[Listing], shared_labels: bool) -> Listing:
    """Put sources one behind the other; a picture that two of them list stays with the first."""
    titles = _distinct([listing.titles[0] for listing in listings])
    rows: dict[str, Row] = {}
    before = 0  # sources
    for title, listing in zip(titles, listings, strict=True):
        for row in listing.rows:
            label = row.label if shared_labels or row.label is None else f"{title}/{row.label}"
            joined = row._replace(name=f"{title}/{row.name}", label=label, source=before + row.source)
            rows.setdefault(row.path if row.seen else _key(row), joined)
        before += len(listing.titles)
    refused = tuple(bad for listing in listings for bad in listing.refused)
    notes = [f"{title}: {note}" for title, listing in zip(titles, listings, strict=True) for note in listing.notes]
    if repeated := sum(len(listing.rows) for listing in listings) - len(rows):
        notes.append(f"{repeated} pictures are named by two sources; they count for the first.")
    return replace(listings[0], rows=tuple(rows.values()), titles=tuple(titles), refused=refused, notes=tuple(notes))


def _distinct(titles: list[str]) -> list[str]:
    """Each title once: one that is taken gets its place behind it, or the next number that makes it new."""
    found = list[str]()
    for place, title in enumerate(titles, start=1):
        numbered = (f"{title}-{number}" for number in count(place))
        found.append(next(one for one in chain([title], numbered) if one not in found))
    return found
