"""The rows of the table: the encoder and what it is compared with, as features of the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable, embed, vectors_of, whole_views
from selfsight.errors import DataError, TrainingError
from selfsight.evaluation import leaks, protocol
from selfsight.evaluation.album import Album
from selfsight.evaluation.kinds import Kind, Plain, kind_of
from selfsight.evaluation.together import Sought
from selfsight.nn.embedder import Embedder
from selfsight.nn.statistics import estimated

BATCH = 256
ESTIMATED_ON = 1024  # training pictures that an untrained network's batch statistics are estimated on
PAIRED = 1000  # pictures whose two views are compared
PROTOCOL = "simclr-keep-colour"  # the one view protocol of evaluation, whatever a method was trained with


def measured(
    encoders: Mapping[str, Embedder],
    pictures: Readable,
    manifest: Manifest,
    *,
    size: int,
    low: float,
    high: float,
    rivals: Sequence[str] = protocol.RIVALS,
    sought: Sought | None = None,
    drop_leaks: bool = False,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], Int[np.ndarray, "K"]]:
    """The whole table for `encoders` ("encoder", "untrained", ...) and the plain baselines; pictures to look at.

    With `drop_leaks` the test pictures that `leaks` finds are left out of every number; their rows come last. The
    pictures are `neighbours`, `leaks` and `hard`. Raises DataError when no picture can be read, or every test picture
    is a leak.
    """
    kind = kind_of(manifest.kind, low, high)
    known = manifest.every_row() if manifest.test.all() else np.flatnonzero(~manifest.test)
    with readable(manifest, "if they were moved, give their new place as DATA"):
        ready = {
            name: with_statistics(one, pictures, known, size) if name == "untrained" else one.eval()
            for name, one in encoders.items()
        }
        found, rows, grids = features(ready, pictures, manifest.every_row(), known, kind, size=size)
    leaked = leaks.find(manifest.taking(rows), grids, found[protocol.ENCODER])
    album = Album(pictures, manifest, kind, rows)
    shown = {"leaks": album.pairs(leaked.pairs) if leaked else []}
    notes = unread(manifest, rows)
    dropped = rows[:0]
    if leaked and drop_leaks:
        kept = leaked.left()
        dropped = rows[~kept]
        found, rows = {name: values[kept] for name, values in found.items()}, rows[kept]
        album = replace(album, rows=rows)
    test = manifest.test[rows]
    seen = rows[test] if test.any() else rows
    views, viewed = two_views(ready, pictures, seen, kind.plain, size=size)
    facts = (manifest.labels[rows], manifest.groups[rows], test, manifest.classes)
    table = protocol.evaluate(
        found,
        *facts,
        views=views,
        view_groups=manifest.groups[viewed],
        rivals=rivals,
        sought=sought.taking(rows) if sought else None,
    )
    hard = table.pop("hard", [])
    more = kind.more(ready[protocol.ENCODER], pictures, seen, manifest.groups[seen])
    table["notes"] += [*notes, *([more.pop("sentence")] if more else [])]
    table |= {"kind": manifest.kind, "leaks": leaked.told(drop_leaks) if leaked else None, **more}
    looked_at = shown | _looked_at(album, found[protocol.ENCODER], test, hard)
    return _in_words(table, manifest.kind), looked_at, dropped


def _in_words(table: dict[str, Any], kind: str) -> dict[str, Any]:
    """The table, its sentences in the words of this kind of sample."""
    verdict = table["verdict"]
    for told in (verdict, verdict.get("retrieval"), verdict.get("identity"), table["leaks"]):
        if told and "sentence" in told:
            told["sentence"] = KINDS[kind].said(told["sentence"])
    return table


def _looked_at(
    album: Album,
    vectors: Float[np.ndarray, "N D"],
    test: Bool[np.ndarray, "N"],
    hard: Sequence[tuple[int, dict[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """Some test pictures with what lies nearest among all, and the hard ones with the training pictures that misled."""
    every = np.arange(len(test))
    found = {"neighbours": album.beside(vectors, np.flatnonzero(test) if test.any() else every, every), "hard": []}
    if hard:
        places, told = zip(*hard, strict=True)
        found["hard"] = album.beside(vectors, np.array(places), np.flatnonzero(~test), told)
    return found


@contextmanager
def readable(manifest: Manifest, remedy: str) -> Iterator[None]:
    """A hundred pictures in a row that cannot be read are a DataError that ends with the remedy."""
    try:
        yield
    except TrainingError as error:
        raise DataError(
            f"hardly any of the {len(manifest)} pictures can be read, the first is {manifest.paths[0]!r}; {remedy}"
        ) from error


def unread(manifest: Manifest, rows: Int[np.ndarray, "N"]) -> list[str]:
    """A note on the pictures of the manifest that are not among the `rows` that were read."""
    gone = np.setdiff1d(manifest.every_row(), rows)
    if not len(gone):
        return []
    first = manifest.names[gone[0]]
    return [
        f"{len(gone)} of {len(manifest)} {manifest.kind} could not be read and are left out; the first is {first!r}."
    ]


def with_statistics(encoder: Embedder, pictures: Readable, rows: Int[np.ndarray, "N"], size: int) -> Embedder:
    """A copy of an untrained encoder with batch-norm statistics of training pictures, so that it is no straw man."""
    shown = whole_views(pictures, rows[:: max(1, len(rows) // ESTIMATED_ON)], size, BATCH, encoder.view)
    return estimated(encoder, (views for views, _ in shown))


def features(
    encoders: Mapping[str, Embedder],
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    train: Int[np.ndarray, "T"],
    kind: Kind,
    *,
    size: int,
) -> tuple[dict[str, Float[np.ndarray, "N _"]], Int[np.ndarray, "N"], Float[np.ndarray, "N S S C"]]:
    """Features of every encoder and of the plain baselines, the (readable) rows they belong to, and their grids."""
    table: dict[str, np.ndarray] = {}
    kept = rows
    for name, encoder in encoders.items():
        table[name], kept = embed(encoder, pictures, rows, size=size, batch=BATCH)
    grids: list[np.ndarray] = []

    def images() -> Iterator[np.ndarray]:
        for row in kept:
            picture, _ = pictures.read(int(row))
            grids.append(kind.grid(picture))
            yield picture

    return table | kind.plain(images(), np.isin(kept, train)), kept, np.stack(grids)


def two_views(
    encoders: Mapping[str, Embedder],
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    plain: Plain,
    *,
    size: int,
    seed: int = 0,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], Int[np.ndarray, "M"]]:
    """Features of two drawn views of at most 1,000 pictures for every row of the table, and which pictures these are.

    The same views for all, whatever a method was trained with: crops of at least 8 % and mirror images.
    """
    drawn = encoders[protocol.ENCODER].pair(PROTOCOL, size)
    chosen = np.sort(keyed(seed, 2, Purpose.MONITOR).permutation(rows)[:PAIRED])
    pairs = [drawn(pictures.read(int(row))[0], keyed(seed, int(row), Purpose.MONITOR))["views"] for row in chosen]
    views = np.stack(pairs)  # (M, 2, ...)
    half = np.arange(len(chosen)) < len(chosen) // 2  # raw pixels lose the mean of the first half: no picture's own
    first, second = (torch.from_numpy(views[:, v]) for v in (0, 1))
    table = {name: (_vectors(one, first), _vectors(one, second)) for name, one in encoders.items()}
    bare = [plain(views[:, v], half) for v in (0, 1)]
    return table | {name: (bare[0][name], bare[1][name]) for name in bare[0]}, chosen


def _vectors(encoder: Embedder, views: torch.Tensor) -> Float[np.ndarray, "N D"]:
    return np.concatenate([vectors_of(encoder, part) for part in torch.split(views, BATCH)])
