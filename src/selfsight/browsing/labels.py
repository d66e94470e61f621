"""Labels that were given on the page: kept in labels.csv, a table that `train` and `classify` take as it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from selfsight import checkpoints
from selfsight.browsing.collection import Collection
from selfsight.data import tables
from selfsight.errors import DataError, DiskError

__all__ = ["LONGEST", "Labels"]

LONGEST = 200  # letters of a label


class Labels:
    """Every picture's label, given here or known before; `file` is read at the start where there is one."""

    def __init__(self, collection: Collection, file: Path) -> None:
        self.collection, self.file = collection, file
        self.given = list(collection.labels)
        self._lock = Lock()
        if file.is_file():
            table = tables.read_columns(file)
            known = dict(zip(table.get("path", []), table.get("label", []), strict=False))
            self.given = [known.get(path, label) for path, label in zip(collection.paths, self.given, strict=True)]
        self.values = sorted({label for label in self.given if label is not None})  # new ones come behind them

    def give(self, numbers: Sequence[int], label: str) -> int:
        """Label pictures ("": none) and write the file; how many pictures have a label then.

        DataError for a label that a table could not give back, DiskError when the file cannot be written; then nothing
        has changed.
        """
        label = label.strip()
        if len(label) > LONGEST or not all(letter.isprintable() for letter in label):
            raise DataError(f"a label has at most {LONGEST} letters and no control characters")
        with self._lock:
            changed = list(self.given)
            for number in numbers:
                changed[number] = label or None
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                checkpoints.replace_file(self.file, self._table(changed))
            except OSError as error:
                raise DiskError(f"labels.csv cannot be written: {error.strerror}") from error
            self.given = changed
            if label and label not in self.values:
                self.values.append(label)
            return sum(one is not None for one in changed)

    def table(self) -> bytes:
        """What the file holds."""
        return self._table(self.given)

    def _table(self, labels: Sequence[str | None]) -> bytes:
        """path (absolute), label and, where it is known, split: the test part stays the test part."""
        split = any(self.collection.splits)
        heads = ["path", "label", *(["split"] if split else [])]
        rows = zip(self.collection.paths, labels, self.collection.splits, strict=True)
        text = io.StringIO(newline="")
        csv.writer(text).writerows(
            [heads, *([path, label or "", *([part or "train"] if split else [])] for path, label, part in rows)]
        )
        return text.getvalue().encode("utf-8", "surrogateescape")
