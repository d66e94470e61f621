"""The rows of the table: the encoder and what it is compared with, as features of the same pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable, embed, vectors_of, whole_views
from selfsight.errors import DataError, TrainingError
from selfsight.evaluation import baselines, protocol
from selfsight.neighbours import nearest
from selfsight.nn.encoder import Encoder
from selfsight.nn.statistics import estimated
from selfsight.views.recipes import multi_view
from selfsight.views.sheet import thumbnail

BATCH = 256
ESTIMATED_ON = 1024  # training pictures that an untrained network's batch statistics are estimated on
PAIRED = 1000  # pictures whose two views are compared
PROTOCOL = "simclr-keep-colour"  # the one view protocol of evaluation, whatever a method was trained with
QUESTIONS, FOUND, SIDE = 6, 6, 64


def measured(
    encoders: Mapping[str, Encoder],
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
    known = manifest.every_row() if manifest.test.all() else np.flatnonzero(~manifest.test)
    with readable(manifest, "if they were moved, give their new place as DATA"):
        ready = {
            name: with_statistics(one, pictures, known, size) if name == "untrained" else one.eval()
            for name, one in encoders.items()
        }
        found, rows = features(ready, pictures, manifest.every_row(), known, size=size, low=low, high=high)
    test = manifest.test[rows]
    seen = rows[test] if test.any() else rows
    views, shown = two_views(ready, pictures, seen, size=size, low=low, high=high)
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
    table["notes"] += unread(manifest, rows)
    asked = np.flatnonzero(test) if test.any() else np.arange(len(rows))
    labels = [manifest.classes[label] if label >= 0 else None for label in manifest.labels]
    return table, gallery(found["encoder"], pictures, rows, asked, manifest.names, labels)


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
    return [f"{len(gone)} of {len(manifest)} pictures could not be read and are left out; the first is {first!r}."]


def with_statistics(encoder: Encoder, pictures: Readable, rows: Int[np.ndarray, "N"], size: int) -> Encoder:
    """A copy of an untrained encoder with batch-norm statistics of training pictures, so that it is no straw man."""
    shown = whole_views(pictures, rows[:: max(1, len(rows) // ESTIMATED_ON)], size, BATCH)
    return estimated(encoder, (views for views, _ in shown))


def features(
    encoders: Mapping[str, Encoder],
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    train: Int[np.ndarray, "T"],
    *,
    size: int,
    low: float,
    high: float,
) -> tuple[dict[str, Float[np.ndarray, "N _"]], Int[np.ndarray, "N"]]:
    """Features of every encoder and of the two plain baselines, and the rows (readable ones) they belong to."""
    table: dict[str, np.ndarray] = {}
    kept = rows
    for name, encoder in encoders.items():
        table[name], kept = embed(encoder, pictures, rows, size=size, batch=BATCH)
    images = (pictures.read(int(row))[0] for row in kept)
    return table | baselines.both(images, np.isin(kept, train), low=low, high=high), kept


def two_views(
    encoders: Mapping[str, Encoder],
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    low: float,
    high: float,
    seed: int = 0,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], Int[np.ndarray, "M"]]:
    """Features of two drawn views of at most 1,000 pictures for every row of the table, and which pictures these are.

    The same views for all, whatever a method was trained with: crops of at least 8 % and mirror images.
    """
    drawn = multi_view(PROTOCOL, size)
    chosen = np.sort(keyed(seed, 2, Purpose.MONITOR).permutation(rows)[:PAIRED])
    pairs = [drawn(pictures.read(int(row))[0], keyed(seed, int(row), Purpose.MONITOR))["views"] for row in chosen]
    views = np.stack(pairs)  # (M, 2, h, w, C)
    half = np.arange(len(chosen)) < len(chosen) // 2  # raw pixels lose the mean of the first half: no picture's own
    first, second = (torch.from_numpy(views[:, v]) for v in (0, 1))
    table = {name: (_vectors(one, first), _vectors(one, second)) for name, one in encoders.items()}
    plain = [baselines.both(views[:, v], half, low=low, high=high) for v in (0, 1)]
    return table | {name: (plain[0][name], plain[1][name]) for name in plain[0]}, chosen


def _vectors(encoder: Encoder, views: torch.Tensor) -> Float[np.ndarray, "N D"]:
    return np.concatenate([vectors_of(encoder, part) for part in torch.split(views, BATCH)])


def gallery(
    vectors: Float[np.ndarray, "N D"],
    pictures: Readable,
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
        picture = thumbnail(pictures.read(row)[0], SIDE)
        return {"name": names[row], "label": labels[row], "image": b64encode(picture).decode()}

    table = []
    for question, near, similar in zip(chosen, found, scores, strict=True):
        others = [(int(place), float(score)) for place, score in zip(near, similar, strict=True) if place != question][
            :FOUND
        ]
        table.append(
            {"query": shown(int(question)), "found": [shown(place) | {"score": score} for place, score in others]}
        )
    return table
