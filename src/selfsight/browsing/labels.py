"""Labels that were given on the page: kept in labels.csv, a table that `train` and `classify` take as it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from selfsight import checkpoints
from selfsight.browsing.collection import Collection
from selfsight.data.bad import safe_name
from selfsight.embedding.store import alone
from selfsight.errors import DataError, DiskError, RunError, printable
from selfsight.searching.labels import COLUMNS, Row, read

__all__ = ["LONGEST", "Labels"]

LONGEST = 200  # letters of a label
EMPTY = {"split": "train"}  # what stands in a cell of which nothing is known


class Labels:
    """Every picture's label, given here or known before. What `file` says holds, also of pictures that are not here."""

    def __init__(self, collection: Collection, file: Path) -> None:
        self.collection, self.file = collection, file
        self.given = list(collection.labels)
        self._heads: tuple[str, ...] = COLUMNS  # and whatever else the file has
        self._rest: list[Row] = list(zip(collection.groups, collection.splits, strict=True))
        self.values: list[str] = []  # new ones come behind
        self._others: dict[str, Row] = {}  # rows of the file whose pictures are not in the collection
        self._seen: tuple[int, ...] = ()  # the file as it was read or written last
        self._lock = Lock()
        self._read()

    def give(self, numbers: Sequence[int], label: str) -> int:
        """Label pictures ("": none) and write the file; how many pictures have a label then.

        DataError for a label that a table could not give back, or a file that cannot be read; DiskError when it cannot
        be written, or is being written. Then nothing has changed.
        """
        label = label.strip()
        if len(label) > LONGEST or printable(label, "") != label:
            raise DataError(f"a label has at most {LONGEST} letters and no control characters")
        with self._lock:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with alone(self.file.parent):
                    self._again()
                    changed = list(self.given)
                    for number in numbers:
                        changed[number] = label or None
                    checkpoints.replace_file(self.file, self._table(changed))
                    self._seen = self._stamp()
            except OSError as error:
                raise DiskError(f"labels.csv cannot be written: {error.strerror}") from error
            except RunError as error:
                raise DiskError("labels.csv is being written by another server; give the label again") from error
            self.given = changed
            if label and label not in self.values:
                self.values.append(label)
            return sum(one is not None for one in changed)

    def told(self) -> bytes:
        """A table for those elsewhere: of each picture here its number and name, not its path, and what is known."""
        with self._lock:
            self._again()
            names = enumerate(map(safe_name, self.collection.names))
            rows = [(row[0], None, row[2]) for row in self._rows(self.given)]  # groups may be called by a path
            return _written(("id", "name"), COLUMNS, [*zip(names, rows, strict=True)])

    def _again(self) -> None:
        try:
            self._read()
        except DataError as error:  # whose sentence names the place, which is nobody's business over HTTP
            raise DataError("labels.csv cannot be read any more; mend it or take it away") from error

    def _read(self) -> None:
        """Take over what the file says, unless it is as it was: another server may have written it."""
        stamp = self._stamp()
        if stamp and stamp != self._seen:
            self._heads, here, self._others = read(self.file, self.collection.names, self.collection.paths)
            blank = (None,) * (len(self._heads) - len(COLUMNS))
            old = [(*row[: len(COLUMNS)], *blank) for row in self._rows(self.given)]
            found = [now or before for now, before in zip(here, old, strict=True)]
            self.given = [row[0] for row in found]
            known = zip(self.collection.groups, self.collection.splits, found, strict=True)
            self._rest = [(group or row[1], part or row[2], *row[3:]) for group, part, row in known]
            self._seen = stamp
        self.values += sorted({label for label in self.given if label is not None}.difference(self.values))

    def _stamp(self) -> tuple[int, ...]:
        if not self.file.is_file():
            return ()
        told = self.file.stat()
        return told.st_ino, told.st_mtime_ns, told.st_size

    def _rows(self, labels: Sequence[str | None]) -> list[Row]:
        return [(label, *rest) for label, rest in zip(labels, self._rest, strict=True)]

    def _table(self, labels: Sequence[str | None]) -> bytes:
        """path (absolute), label, where known group and split (what was apart stays apart), and what others wrote."""
        rows = [*zip(self.collection.paths, self._rows(labels), strict=True), *self._others.items()]
        return _written(("path",), self._heads, [((path,), row) for path, row in rows])


def _written(names: Sequence[str], heads: Sequence[str], rows: Sequence[tuple[tuple[object, ...], Row]]) -> bytes:
    kept = [
        place
        for place, head in enumerate(heads)
        if head not in ("group", "split") or any(row[place] for _, row in rows)
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*names, *(heads[place] for place in kept)])
    writer.writerows([*called, *(row[place] or EMPTY.get(heads[place], "") for place in kept)] for called, row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
