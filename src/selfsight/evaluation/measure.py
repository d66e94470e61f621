"""The rows of the table: the encoder and what it is compared with, as features of the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable, embed, vectors_of, whole_views
from selfsight.errors import DataError, TrainingError
from selfsight.evaluation import protocol
from selfsight.evaluation.kinds import Kind, Plain, kind_of
from selfsight.neighbours import nearest
from selfsight.nn.embedder import Embedder
from selfsight.nn.statistics import estimated

BATCH = 256
ESTIMATED_ON = 1024  # training pictures that an untrained network's batch statistics are estimated on
PAIRED = 1000  # pictures whose two views are compared
PROTOCOL = "simclr-keep-colour"  # the one view protocol of evaluation, whatever a method was trained with
QUESTIONS, FOUND = 6, 6


def measured(
    encoders: Mapping[str, Embedder],
    pictures: Readable,
    manifest: Manifest,
    *,
    size: int,
    low: float,
    high: float,
    rivals: Sequence[str] = protocol.RIVALS,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole table for `encoders` ("encoder", "untrained", ...) and the plain baselines; neighbours to look at.

    Raises DataError when no picture can be read.
    """
    kind = kind_of(manifest.kind, low, high)
    known = manifest.every_row() if manifest.test.all() else np.flatnonzero(~manifest.test)
    with readable(manifest, "if they were moved, give their new place as DATA"):
        ready = {
            name: with_statistics(one, pictures, known, size) if name == "untrained" else one.eval()
            for name, one in encoders.items()
        }
        found, rows = features(ready, pictures, manifest.every_row(), known, kind.plain, size=size)
    test = manifest.test[rows]
    seen = rows[test] if test.any() else rows
    views, shown = two_views(ready, pictures, seen, kind.plain, size=size)
    table = protocol.evaluate(
        found,
        manifest.labels[rows],
        manifest.groups[rows],
        test,
        manifest.classes,
        views=views,
        view_groups=manifest.groups[shown],
        rivals=rivals,
    )
    table["kind"] = manifest.kind
    for conclusion in (table["verdict"], table["verdict"].get("retrieval", {})):
        if "sentence" in conclusion:
            conclusion["sentence"] = KINDS[manifest.kind].said(conclusion["sentence"])
    more = kind.more(ready["encoder"], pictures, seen, manifest.groups[seen])
    table |= {name: value for name, value in more.items() if name != "sentence"}
    table["notes"] += [*unread(manifest, rows), *([more["sentence"]] if more else [])]
    asked = np.flatnonzero(test) if test.any() else np.arange(len(rows))
    labels = [manifest.classes[label] if label >= 0 else None for label in manifest.labels]
    return table, gallery(found["encoder"], pictures, kind, rows, asked, manifest.names, labels)


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
    plain: Plain,
    *,
    size: int,
) -> tuple[dict[str, Float[np.ndarray, "N _"]], Int[np.ndarray, "N"]]:
    """Features of every encoder and of the plain baselines, and the rows (readable ones) they belong to."""
    table: dict[str, np.ndarray] = {}
    kept = rows
    for name, encoder in encoders.items():
        table[name], kept = embed(encoder, pictures, rows, size=size, batch=BATCH)
    images = (pictures.read(int(row))[0] for row in kept)
    return table | plain(images, np.isin(kept, train)), kept


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


def gallery(
    vectors: Float[np.ndarray, "N D"],
    pictures: Readable,
    kind: Kind,
    rows: Int[np.ndarray, "N"],
    asked: Int[np.ndarray, "Q"],
    names: Sequence[str],
    labels: Sequence[str | None],
) -> list[dict[str, Any]]:
    """A few pictures and what the encoder finds nearest to them, with thumbnails: for people to look at."""
    chosen = asked[np.linspace(0, len(asked) - 1, min(QUESTIONS, len(asked))).astype(int)]
    scores, found = nearest(vectors[chosen], vectors, FOUND + 1)

    def shown(place: int) -> dict[str, Any]:
        row = int(rows[place])
        return {"name": names[row], "label": labels[row], **kind.shown(pictures.read(row)[0])}

    table = []
    for question, near, similar in zip(chosen, found, scores, strict=True):
        others = [(int(place), float(score)) for place, score in zip(near, similar, strict=True) if place != question][
            :FOUND
        ]
        table.append(
            {"query": shown(int(question)), "found": [shown(place) | {"score": score} for place, score in others]}
        )
    return table
