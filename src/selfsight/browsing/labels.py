"""Labels that were given on the page: kept in labels.csv, a table that `train` and `classify` take as it is."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from selfsight import checkpoints
from selfsight.browsing.collection import Collection
from selfsight.data import tables
from selfsight.data.bad import safe_name
from selfsight.embedding.store import alone
from selfsight.errors import DataError, DiskError, RunError

__all__ = ["LONGEST", "Labels"]

LONGEST = 200  # letters of a label
COLUMNS = ("label", "group", "split")
Row = tuple[str | None, str | None, str | None]  # these


class Labels:
    """Every picture's label, given here or known before. What `file` says holds, also of pictures that are not here."""

    def __init__(self, collection: Collection, file: Path) -> None:
        self.collection, self.file = collection, file
        self.given, self._rest = list(collection.labels), self._known()
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
        if len(label) > LONGEST or not all(letter.isprintable() for letter in label):
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
            rows = [(label, None, part) for label, _, part in self._rows(self.given)]  # groups may be called by a path
            return _written(("id", "name"), [*zip(names, rows, strict=True)])

    def _again(self) -> None:
        try:
            self._read()
        except DataError as error:  # whose sentence names the place, which is nobody's business over HTTP
            raise DataError("labels.csv cannot be read any more; mend it or take it away") from error

    def _read(self) -> None:
        """Take over what the file says, unless it is as it was: another server may have written it."""
        stamp = self._stamp()
        if stamp and stamp != self._seen:
            table = tables.read_columns(self.file)
            if (paths := table.get("path")) is None:
                raise DataError(f"{str(self.file)!r} has no column 'path'; mend it or take it away")
            rows = zip(*(table.get(name, [None] * len(paths)) for name in COLUMNS), strict=True)
            known = {path: row for path, row in zip(paths, rows, strict=True) if path}
            own = [path.strip() for path in self.collection.paths]  # as a table gives them back
            here = set(own)
            wanted = {name: path for name, path in zip(self.collection.names, own, strict=True) if path not in known}
            for new, old in _moved(known.keys() - here, wanted).items():
                known[new] = known.pop(old)
            found = [known.get(path, old) for path, old in zip(own, self._rows(self.given), strict=True)]
            self.given = [label for label, _, _ in found]
            both = zip(self._known(), found, strict=True)
            self._rest = [(group or its, part or said) for (group, part), (_, its, said) in both]
            self._others = {path: row for path, row in known.items() if path not in here}
            self._seen = stamp
        self.values += sorted({label for label in self.given if label is not None}.difference(self.values))

    def _stamp(self) -> tuple[int, ...]:
        if not self.file.is_file():
            return ()
        told = self.file.stat()
        return told.st_ino, told.st_mtime_ns, told.st_size

    def _known(self) -> list[tuple[str | None, str | None]]:
        return list(zip(self.collection.groups, self.collection.splits, strict=True))

    def _rows(self, labels: Sequence[str | None]) -> list[Row]:
        return [(label, *rest) for label, rest in zip(labels, self._rest, strict=True)]

    def _table(self, labels: Sequence[str | None]) -> bytes:
        """path (absolute), label and, where known, group and split: what was apart stays apart."""
        rows = [*zip(self.collection.paths, self._rows(labels), strict=True), *self._others.items()]
        return _written(("path",), [((path,), row) for path, row in rows])


def _written(heads: Sequence[str], rows: Sequence[tuple[tuple[object, ...], Row]]) -> bytes:
    kept = [place for place, name in enumerate(COLUMNS) if name == "label" or any(row[place] for _, row in rows)]
    empty = ("", "", "train")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*heads, *(COLUMNS[place] for place in kept)])
    writer.writerows([*called, *(row[place] or empty[place] for place in kept)] for called, row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


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
