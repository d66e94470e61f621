"""Labels that were given on the page of `browse`: what its labels.csv says of the pictures of an index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow

from selfsight.data import tables
from selfsight.embedding.store import shown
from selfsight.errors import DataError
from selfsight.searching.index import Index

__all__ = ["COLUMNS", "Row", "overlay", "read"]

COLUMNS = ("label", "group", "split")
Row = tuple[str | None, ...]  # these, and what other columns a table has


def read(
    file: Path, names: Sequence[str], paths: Sequence[str]
) -> tuple[tuple[str, ...], list[Row | None], dict[str, Row]]:
    """A table's columns but `path`, its row of each of these pictures (None for none), and the other rows by path.

    DataError when it cannot be read.
    """
    table = tables.read_columns(file)
    if (listed := table.get(tables.PATH)) is None:
        raise DataError(f"{str(file)!r} has no column 'path'; mend it or take it away")
    heads = (*COLUMNS, *(name for name in table if name not in (tables.PATH, *COLUMNS)))
    rows = zip(*(table.get(name, [None] * len(listed)) for name in heads), strict=True)
    known: dict[str, Row] = {path: row for path, row in zip(listed, rows, strict=True) if path}
    own = [path.strip() for path in paths]  # as a table gives them back
    here = set(own)
    wanted = {name: path for name, path in zip(names, own, strict=True) if path not in known}
    for new, old in _moved(known.keys() - here, wanted).items():
        known[new] = known.pop(old)
    return heads, [known.get(path) for path in own], {path: row for path, row in known.items() if path not in here}


def overlay(index: Index) -> int:
    """Put what was given on the page in place of the index's own labels; of how many pictures it is another one."""
    file = Path(index.where) / "browse" / "labels.csv"
    if not file.is_file():
        return 0
    rows = read(file, index.names, index.paths)[1]
    labels = [own if row is None else row[0] and shown(row[0]) for own, row in zip(index.labels, rows, strict=True)]
    changed = sum(new != own for new, own in zip(labels, index.labels, strict=True))
    place = index.table.schema.get_field_index("label")
    index.table = index.table.set_column(place, "label", pyarrow.array(labels, pyarrow.string()))
    index.labels = labels
    return changed


def _moved(others: Iterable[str], wanted: Mapping[str, str]) -> dict[str, str]:
    """The old path of pictures, by name and path, that were moved: it ends in the name, and nothing is there."""
    found = {}
    for path in others if wanted else ():
        parts = path.split("/")
        ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
        name = next((end for end in ends if end in wanted), None)
        if name is not None and not os.path.exists(path):
            found[wanted[name]] = path
    return found
