"""From what the user calls DATA to a listing of samples: a folder, a list file, a table, or several of them joined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from selfsight.data import splits, tables
from selfsight.data.bad import BadFile
from selfsight.data.classes import from_folders
from selfsight.data.kinds import KINDS, Kind
from selfsight.data.walk import is_candidate, walk
from selfsight.errors import DataError

INSIDE = ("labels.csv", "labels.parquet")  # a folder that holds one of these, with a column `path`, is read through it


class Row(NamedTuple):
    """One picture: where it is, its name as the user knows it, and what is said about it (None: nothing)."""

    path: str
    name: str
    label: str | None = None
    group: str | None = None
    split: str | None = None  # "train" or "test"
    source: int = 0


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called."""

    label: str = "label"
    group: str = "group"
    split: str = "split"


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
    kind: str = "pictures",
) -> Listing:
    """List the samples of DATA: a folder, a list file (.txt), a table (.csv, .tsv, .parquet), or several of them.

    Labels of two sources are different labels unless `shared_labels`. Raises DataError when there is nothing to list.
    """
    items = [data] if isinstance(data, str | Path) else list(data)
    if not items:
        raise DataError("no DATA was given; name a folder, a list file or a table.")
    columns = Columns(label_column, group_column, split_column)
    if elsewhere := [str(item) for item in items if "://" in str(item)]:
        raise DataError(f"{elsewhere[0]!r} is not on this machine; copy the pictures here and name their folder.")
    listings = [replace(_one(Path(item), columns, KINDS[kind]), kind=kind) for item in items]
    return listings[0] if len(listings) == 1 else _join(listings, shared_labels)


def values(
    data: str | Path | Sequence[str | Path], column: str, kind: str, *, group: str, split: str
) -> dict[str, str | None]:
    """What a column of DATA's table says of each sample, by the sample's name; an empty cell is None.

    `group` and `split` are the columns of these. Raises DataError when there is no table, or no such column.
    """
    listing = find(data, label_column=column, group_column=group, split_column=split, shared_labels=True, kind=kind)
    return dict(zip(listing.names, listing.labels, strict=True))


def kind_of(data: str | Path | Sequence[str | Path]) -> str:
    """What DATA holds by the endings of its names: the first kind that is there, pictures where none is."""
    for kind in KINDS.values():
        with suppress(DataError):
            if any(is_candidate(path, kind.endings) for path in find(data, kind=kind.name).paths):
                return kind.name
    return next(iter(KINDS))


def _one(data: Path, columns: Columns, kind: Kind) -> Listing:
    if not os.path.lexists(data):
        raise DataError(f"{str(data)!r} does not exist; check the spelling, or whether its disk is mounted.")
    if data.is_dir():
        return _folder(data, columns, kind)
    if data.suffix.lower() in tables.TABLES:
        return _table(data, columns)
    if data.suffix.lower() in tables.LISTS:
        return _sorted(data, [_row(data, name) for name in tables.read_list(data)], f"the list {data.name!r}")
    raise DataError(f"{str(data)!r} is neither a folder, a list (.txt) nor a table (.csv, .tsv, .parquet).")


def _folder(folder: Path, columns: Columns, kind: Kind) -> Listing:
    for name in INSIDE:
        if (folder / name).is_file() and tables.PATH in tables.read_columns(folder / name):
            return _table(folder / name, columns)
    if columns != Columns():
        raise DataError(f"{str(folder)!r} holds no labels.csv, so it has no columns to choose; give a table as DATA.")
    found = walk(str(folder), kind.endings)
    if not found.names:
        bad = f" ({len(found.refused)} files were refused)" if found.refused else ""
        looked = f"{str(folder)!r} holds no {kind.one}{bad}; looked for {', '.join(kind.opened.split())}"
        raise DataError(f"{looked}{_others(folder, kind)}.")
    said = from_folders(found.names)
    parts = _parts(said.splits, str(folder))
    root = os.path.abspath(folder)
    rows = [
        Row(os.path.join(root, name), name, label, None, part)
        for name, label, part in zip(found.names, said.labels, parts, strict=True)
    ]
    return Listing(tuple(rows), (_title(folder),), tuple(found.refused), (*found.notes, *said.notes))


def _others(folder: Path, kind: Kind) -> str:
    """What the folder holds instead, and who would take it."""
    there = [other.name for other in KINDS.values() if other is not kind and walk(str(folder), other.endings).names]
    return f". It holds {there[0]}, which other methods learn from: see `selfsight methods`" if there else ""


def _table(file: Path, columns: Columns) -> Listing:
    table = tables.read_columns(file)
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


def _row(file: Path, name: str, label: str | None = None, group: str | None = None, split: str | None = None) -> Row:
    return Row(os.path.join(os.path.abspath(file.parent), name), name, label, group, split)


def _sorted(file: Path, rows: list[Row], what: str) -> Listing:
    """The rows of a list or table, sorted by name, each picture once."""
    if not rows:
        raise DataError(f"{str(file)!r} names no picture; give it one path for each line.")
    once = {row.name: row for row in reversed(rows)}
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
    for index, (title, listing) in enumerate(zip(titles, listings, strict=True)):
        for row in listing.rows:
            label = row.label if shared_labels or row.label is None else f"{title}/{row.label}"
            joined = row._replace(name=f"{title}/{row.name}", label=label, source=index)
            rows.setdefault(os.path.normpath(row.path), joined)
    refused = tuple(bad for listing in listings for bad in listing.refused)
    notes = [f"{title}: {note}" for title, listing in zip(titles, listings, strict=True) for note in listing.notes]
    if repeated := sum(len(listing.rows) for listing in listings) - len(rows):
        notes.append(f"{repeated} pictures are named by two sources; they count for the first.")
    return replace(listings[0], rows=tuple(rows.values()), titles=tuple(titles), refused=refused, notes=tuple(notes))


def _distinct(titles: list[str]) -> list[str]:
    return [f"{title}-{i + 1}" if title in titles[:i] else title for i, title in enumerate(titles)]
