"""Predictions on disk: one row for each file that was given, so that nothing is dropped in silence."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from selfsight import checkpoints
from selfsight.data.bad import BadFile, safe_name
from selfsight.data.pictures import Pictures
from selfsight.data.source import Listing
from selfsight.embedding.embed import batches
from selfsight.errors import DiskError, RunError
from selfsight.evaluation.classifier import Classifier
from selfsight.evaluation.measure import readable
from selfsight.nn.embedder import Embedder

HEADS = ("path", "prediction", "confidence", "second", "second_confidence", "third", "third_confidence", "reason")
NAMED = 3  # classes in a row

Line = list[str]


def target(out: str | Path) -> Path:
    """The file to write; RunError when a folder has that name."""
    if Path(out).is_dir():
        raise RunError(f"--out {str(out)!r} is a folder; name a file, such as {Path(out) / 'predictions.csv'}")
    return Path(out)


def predict(
    model: Classifier,
    encoder: Embedder,
    pictures: Pictures,
    *,
    size: int,
    tell: Callable[[int], None] = lambda done: None,
) -> dict[str, Line]:
    """By path, what follows the name in a line: up to three classes with their probabilities, or why there are none."""
    manifest, lines = pictures.manifest, dict[str, Line]()
    with readable(manifest, "see whether they were moved"):
        for vectors, rows in batches(encoder, pictures, manifest.every_row(), size=size, tell=tell):
            chances = model.probabilities(vectors)
            order = np.argsort(-chances, axis=1, kind="stable")[:, :NAMED]
            for row, best, own in zip(rows, order, chances, strict=True):
                cells = [cell for number in best for cell in (model.classes[number], f"{own[number]:.6f}")]
                lines[manifest.paths[row]] = cells + [""] * (len(HEADS) - 1 - len(cells))
    return lines | {bad.path: [""] * (len(HEADS) - 2) + [_reason(bad)] for bad in pictures.bad_files}


def write(file: Path, lines: dict[str, Line], listing: Listing) -> dict[str, Any]:
    """The CSV in the order of the listing, then what was refused before it; and how many files are of which class.

    UTF-8; a name that is not is escaped, as in bad_files.csv. Raises DiskError.
    """
    names = {row.path: row.name for row in listing.rows}
    ordered = [*(path for path in names if path in lines), *(path for path in lines if path not in names)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADS, *([safe_name(names.get(path, path)), *lines[path]] for path in ordered)])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.replace_file(file, text.getvalue().encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DiskError(
            f"{str(file)!r} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
    named = Counter(line[0] for line in lines.values() if not line[-1])
    unreadable = len(lines) - named.total()
    return {"out": str(file), "pictures": named.total(), "unreadable": unreadable, "predicted": dict(named)}


def _reason(bad: BadFile) -> str:
    return f"{bad.reason}: {bad.detail}" if bad.detail else bad.reason
