"""What must change in an index so that it holds the pictures of today: which are new, changed, gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from jaxtyping import Int

from selfsight.data import remote, shards
from selfsight.data.bad import add_bad_files
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.embedding import store
from selfsight.errors import RunError

__all__ = ["Change", "change", "is_there", "noted", "same_encoder", "update"]


@dataclass(frozen=True, eq=False)
class Change:
    """Rows of the manifest that are `new`, rows of the index that are `kept`, how many of it are changed and gone, and
    which rows of those kept have another label."""

    new: Int[np.ndarray, "M"]
    kept: Int[np.ndarray, "K"]
    changed: int = 0
    gone: int = 0
    labelled: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{len(self.new)} added", f"{len(self.kept)} kept"]
        parts += [f"{len(self.labelled)} with another label"] if self.labelled else []
        parts += [f"{self.changed} with other contents left out"] if self.changed else []
        parts += [f"{self.gone} gone and left out"] if self.gone else []
        return ", ".join(parts)


def change(
    files: Sequence[str],
    digests: Sequence[str],
    labels: Sequence[str | None],
    manifest: Manifest | None,
    *,
    prune: bool,
) -> Change:
    """What an index of these files, with the digests of what was in them, lacks and has too much.

    A file is the same when path and digest are; one whose contents changed is left out and added anew, and one whose
    label did has the new one (without one it keeps what it had). With `prune`, files that are gone are left out.
    RunError when all of them are gone: then a disk is missing, not they.
    """
    there = list(zip(files, digests, strict=True))
    today = {} if manifest is None else dict(zip(manifest.paths, manifest.digests, strict=True))
    broken = set() if manifest is None else {bad.path for bad in manifest.bad}
    changed = np.array([file in broken or today.get(file, digest) != digest for file, digest in there], bool)
    gone = np.array([prune and not is_there(file) for file in files], bool)
    known = dict(there)
    new = [row for row, (file, digest) in enumerate(today.items()) if known.get(file) != digest]
    if there and gone.all() and not new:
        raise RunError(
            f"none of the {len(there)} pictures is there any more (such as {files[0]!r}), so nothing was left out: is "
            "a disk not mounted?"
        )
    kept = np.flatnonzero(~changed & ~gone)
    pairs = [] if manifest is None else zip(manifest.paths, manifest.labels.tolist(), strict=True)
    told = {path: store.shown(manifest.classes[label]) for path, label in pairs if manifest and label >= 0}
    labelled = {row: told[files[row]] for row in kept.tolist() if told.get(files[row], labels[row]) != labels[row]}
    return Change(np.array(new, np.int64), kept, int((changed & ~gone).sum()), int(gone.sum()), labelled)


def is_there(file: str) -> bool:
    """Whether a picture's file, or the shard that it is in, is still there; what is elsewhere counts as there."""
    place = shards.at(file)
    held = file if place is None else place.shard
    return remote.is_address(held) or os.path.lexists(held)


def same_encoder(there: Mapping[str, Any], facts: Mapping[str, Any], where: str, instead: str) -> None:
    """RunError when an index belongs to another encoder, or to other views."""
    owners = {"encoder": "another encoder", "size": "views of another size", "patches": "another --patches"}
    owners["least_side"] = "pictures that were halved otherwise"
    for name, words in owners.items():
        if there.get(name) != facts.get(name):
            raise RunError(f"{where!r} belongs to {words}, so nothing was added; use {instead}")


def update(
    folder: Path,
    facts: Mapping[str, Any],
    pictures: Pictures | None,
    parts_of: Callable[[Int[np.ndarray, "M"]], store.Parts],
    *,
    prune: bool,
) -> Change:
    """Bring an index up to date; where there is none, it is made. The same again does nothing, and writes nothing.

    Of the change that is returned, `new` are the rows that have a vector now: a file may turn out to be no picture.
    """
    if pictures is not None and not (folder / store.FACTS).exists():
        rows = pictures.manifest.every_row()
        came = [rows[:0]]
        store.write(folder, noted(parts_of(rows), came), pictures, facts)
        return Change(np.concatenate(came), rows[:0])
    stored = store.read(folder)
    if pictures is None:
        facts = {**facts, "patches": stored.facts.get("patches")}
    same_encoder(stored.facts, facts, str(folder), "another --out, or leave --append out to embed all again")
    files = [os.fsdecode(file) for file in stored.table["file"].to_pylist()]
    manifest = None if pictures is None else pictures.manifest
    digests, labels = (stored.table[name].to_pylist() for name in ("digest", "label"))
    todo = change(files, digests, labels, manifest, prune=prune)
    if todo.labelled:
        now = pyarrow.array([todo.labelled.get(row, label) for row, label in enumerate(labels)], pyarrow.string())
        place = stored.table.column_names.index("label")
        stored = replace(stored, table=stored.table.set_column(place, "label", now))
    came = [todo.new[:0]]
    parts = iter(noted(parts_of(todo.new), came))
    first = [*islice(parts, 1)]
    if first or todo.changed or todo.gone or todo.labelled:
        store.write(folder, chain(first, parts), pictures, facts, (stored, todo.kept))
    elif pictures is not None and len(todo.new):
        with suppress(OSError):  # they are told as well
            add_bad_files(folder / "bad_files.csv", pictures.bad_files)
    return replace(todo, new=np.concatenate(came))


def noted(parts: store.Parts, came: list[Int[np.ndarray, "B"]]) -> store.Parts:
    """The same parts; their rows go into `came`."""
    for vectors, rows in parts:
        came.append(rows)
        yield vectors, rows
