"""The rows of the table: the encoder and what it is compared with, as features of the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped

from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.data.pictures import Pictures
from selfsight.data.splits import repeated, units
from selfsight.embedding.embed import Readable, embed, vectors_of, whole_views
from selfsight.errors import DataError, TrainingError
from selfsight.evaluation import kept, leaks, protocol
from selfsight.evaluation.album import Album
from selfsight.evaluation.kinds import Kind, Plain, kind_of
from selfsight.evaluation.together import Sought
from selfsight.nn.embedder import Embedder
from selfsight.nn.statistics import estimated
from selfsight.nn.whitening import Whitening

BATCH = 256
ESTIMATED_ON = 1024  # training pictures that an untrained network's batch statistics are estimated on
PAIRED = 1000  # pictures whose two views are compared
WHITE = (
    "The encoder's vectors are {} before they are compared. Every other row is compared whitened and plain, and the "
    "better one is told, of each number by itself; but retrieval and clustering take that of the better R@1 in all."
)
COPIES = (
    "{} of {} pictures have the contents of an earlier one of their part. In every interval and hold-out they count as "
    "one with it; in retrieval, and where views are told apart, they take no part."
)
PROTOCOL = "simclr-keep-colour"  # the one view protocol of evaluation, whatever a method was trained with


def measured(
    encoders: Mapping[str, Embedder],
    pictures: Pictures,
    manifest: Manifest,
    *,
    size: int,
    low: float,
    high: float,
    rivals: Sequence[str] = protocol.RIVALS,
    sought: Sought | None = None,
    whole: Manifest | None = None,
    drop_leaks: bool = False,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], Int[np.ndarray, "K"]]:
    """The whole table for `encoders` ("encoder", "untrained", ...) and the plain baselines; pictures to look at.

    With `drop_leaks` the test pictures that `leaks` finds in the `whole` set, where `manifest` is a portion of one, are
    left out of every number; their rows come last. The pictures are `neighbours`, `leaks` and `hard`. Raises DataError
    when no picture can be read, or no test picture, or every test picture is a leak.
    """
    kind = kind_of(manifest.kind, low, high)
    known = manifest.every_row() if manifest.test.all() else np.flatnonzero(~manifest.test)
    with readable(manifest, "if they were moved, give their new place as DATA"):
        ready = {name: Ready.of(name, one, pictures, known, size) for name, one in encoders.items()}
        found, rows, grids = features(ready, pictures, manifest.every_row(), known, kind, size=size)
    must_have_test(manifest, rows)
    leaked = leaks.find(manifest.taking(rows), grids, found[protocol.ENCODER], whole)
    album = Album(pictures, manifest, kind, rows)
    shown = {"leaks": album.pairs(leaked.pairs) if leaked else []}
    notes = [*unread(manifest, rows), *of_copies(manifest)]
    dropped = rows[:0]
    if leaked and drop_leaks:
        left = leaked.left()
        dropped = rows[~left]
        found, rows = {name: values[left] for name, values in found.items()}, rows[left]
        album = replace(album, rows=rows)
    white = whitenings(found, np.isin(rows, known), encoders[protocol.ENCODER])
    test, groups = manifest.test[rows], units(manifest.groups, manifest.digests)
    part, again = test if test.any() else ~test, repeated([manifest.digests[row] for row in rows], test)
    plain = partial(_once_plain, kind.plain, (manifest.kind, low, high))
    views, viewed = two_views(ready, pictures, rows[part & ~again], plain, size=size)
    facts = (manifest.labels[rows], groups[rows], test, manifest.classes)
    table = protocol.evaluate(
        found,
        *facts,
        white=white,
        views=views,
        view_groups=groups[viewed],
        rivals=rivals,
        sought=(sought or Sought(manifest.labels)).taking(rows).without(again),
    )
    more = kind.more(ready[protocol.ENCODER].encoder(), pictures, rows[part], groups[rows[part]])
    table["notes"] += [*notes, *([more.pop("sentence")] if more else [])]
    table |= {"kind": manifest.kind, "leaks": leaked.told(drop_leaks) if leaked else None, **more}
    if white:
        table["notes"].append(WHITE.format("whitened" if protocol.ENCODER in white else "not whitened"))
    (own,) = protocol.spaces(protocol.ENCODER, found[protocol.ENCODER], white.get(protocol.ENCODER))
    looked_at = shown | _looked_at(album, own, test, table.pop("hard", []))
    return _in_words(table, manifest.kind), looked_at, dropped


def whitenings(
    features: Mapping[str, Float[np.ndarray, "N _"]], train: Bool[np.ndarray, "N"], encoder: Embedder
) -> dict[str, Whitening]:
    """Of each row of the table: the encoder's own, where it has one; any other's of the training part."""
    found = {name: Whitening.fit(rows[train]) for name, rows in features.items()}
    found[protocol.ENCODER] = encoder.whitening
    return {name: one for name, one in found.items() if one is not None}


def _once_plain(
    plain: Plain, told: tuple[object, ...], views: np.ndarray, half: Bool[np.ndarray, "M"]
) -> dict[str, np.ndarray]:
    return kept.once(partial(plain, views, half), "plain views", told, views, half)


def _in_words(table: dict[str, Any], kind: str) -> dict[str, Any]:
    """The table, its sentences in the words of this kind of sample."""
    for told in (*protocol.conclusions(table), table["leaks"]):
        if told:
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


def must_have_test(manifest: Manifest, rows: Int[np.ndarray, "N"]) -> None:
    """DataError where a test part was declared and none of it is among the `rows` that were read."""
    if manifest.test.any() and not manifest.test[rows].any():
        raise DataError(
            f"none of the {manifest.test.sum()} test pictures can be read, the first is "
            f"{manifest.paths[manifest.test_rows()[0]]!r}; if they were moved, give their new place as DATA"
        )


def unread(manifest: Manifest, rows: Int[np.ndarray, "N"], asked: Int[np.ndarray, "K"] | None = None) -> list[str]:
    """A note on the pictures of the manifest, or those `asked` for, that are not among the `rows` that were read."""
    asked = manifest.every_row() if asked is None else asked
    gone = np.setdiff1d(asked, rows)
    if not len(gone):
        return []
    first = manifest.names[gone[0]]
    return [f"{len(gone)} of {len(asked)} {manifest.kind} could not be read and are left out; the first is {first!r}."]


def of_copies(manifest: Manifest) -> list[str]:
    """A note on pictures that are there more than once."""
    count = int(repeated(manifest.digests, manifest.test).sum())
    return [KINDS[manifest.kind].said(COPIES.format(count, len(manifest)))] if count else []


def with_statistics(encoder: Embedder, pictures: Readable, rows: Int[np.ndarray, "N"], size: int) -> Embedder:
    """A copy of an untrained encoder with batch-norm statistics of training pictures, so that it is no straw man."""
    shown = whole_views(pictures, rows[:: max(1, len(rows) // ESTIMATED_ON)], size, BATCH, encoder.view)
    return estimated(encoder, (views for views, _ in shown))


@dataclass(frozen=True)
class Ready:
    """An encoder as it is measured, made so when it is first needed, and what its answers depend on."""

    encoder: Callable[[], Embedder]
    key: tuple[object, ...]

    @classmethod
    def of(cls, name: str, encoder: Embedder, pictures: Pictures, known: Int[np.ndarray, "T"], size: int) -> Ready:
        """With batch-norm statistics of the `known` pictures, where nobody trained it."""
        its = (kept.network(encoder), size)
        if name != "untrained":
            return cls(lambda: encoder.eval(), its)
        statistics = cache(lambda: with_statistics(encoder, pictures, known, size))
        return cls(statistics, (*its, kept.samples(pictures, known)))

    def embedded(
        self, pictures: Pictures, rows: Int[np.ndarray, "N"], size: int
    ) -> tuple[Float[np.ndarray, "M D"], Int[np.ndarray, "M"]]:
        """Plain vectors of the pictures, and the rows of those that can be read."""
        return embed(self.encoder(), pictures, rows, size=size, batch=BATCH, plain=True)

    def again(self, pictures: Pictures, rows: Int[np.ndarray, "M"], size: int) -> Float[np.ndarray, "M D"]:
        """Plain vectors of pictures that could be read; DataError where one cannot be any more."""
        vectors, read = self.embedded(pictures, rows, size)
        if len(read) < len(rows):
            raise DataError(f"{len(rows) - len(read)} pictures could be read and now cannot be; give the command again")
        return vectors

    def seen(self, views: Shaped[np.ndarray, "M 2 ..."]) -> tuple[Float[np.ndarray, "M D"], Float[np.ndarray, "M D"]]:
        """Plain vectors of two views of each picture."""
        first, second = (torch.split(torch.from_numpy(views[:, v]), BATCH) for v in (0, 1))
        vectors = partial(vectors_of, self.encoder(), plain=True)
        return np.concatenate([*map(vectors, first)]), np.concatenate([*map(vectors, second)])


def features(
    encoders: Mapping[str, Ready],
    pictures: Pictures,
    rows: Int[np.ndarray, "N"],
    train: Int[np.ndarray, "T"],
    kind: Kind,
    *,
    size: int,
) -> tuple[dict[str, Float[np.ndarray, "N _"]], Int[np.ndarray, "N"], Float[np.ndarray, "N S S C"]]:
    """Features of every encoder and of the plain baselines, the (readable) rows they belong to, and their grids.

    For the first encoder every picture is read; what the others and the baselines say may have been kept: of the same
    pictures in this order, whatever their rows were in the listing of that time.
    """
    (first, own), *others = encoders.items()
    vectors, read = own.embedded(pictures, rows, size)
    table, shown = {first: vectors}, kept.samples(pictures, read)
    for name, one in others:
        table[name] = kept.once(partial(one.again, pictures, read, size), "features", *one.key, shown)
    rest, grids = without_training(pictures, read, train, kind)
    return table | rest, read, grids


def without_training(
    pictures: Pictures, rows: Int[np.ndarray, "N"], train: Int[np.ndarray, "T"], kind: Kind
) -> tuple[dict[str, Float[np.ndarray, "N _"]], Float[np.ndarray, "N S S C"]]:
    """Features of the plain baselines and the grids of these pictures, from disk where they were made before."""
    known = np.isin(rows, train)

    def made() -> tuple[dict[str, np.ndarray], np.ndarray]:
        grids: list[np.ndarray] = []

        def images() -> Iterator[np.ndarray]:
            for row in rows:
                picture, _ = pictures.read(int(row))
                grids.append(kind.grid(picture))
                yield picture

        return kind.plain(images(), known), np.stack(grids)

    return kept.once(made, "plain", kept.samples(pictures, rows), known)


def two_views(
    encoders: Mapping[str, Ready],
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
    drawn = encoders[protocol.ENCODER].encoder().pair(PROTOCOL, size)
    chosen = np.sort(keyed(seed, 2, Purpose.MONITOR).permutation(rows)[:PAIRED])
    pairs = [drawn(pictures.read(int(row))[0], keyed(seed, int(row), Purpose.MONITOR))["views"] for row in chosen]
    views = np.stack(pairs)  # (M, 2, ...)
    half = np.arange(len(chosen)) < len(chosen) // 2  # raw pixels lose the mean of the first half: no picture's own
    table: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, one in encoders.items():
        made = partial(one.seen, views)
        table[name] = kept.once(made, "views", *one.key, views) if table else made()
    first, second = plain(views[:, 0], half), plain(views[:, 1], half)
    return table | {name: (first[name], second[name]) for name in first}, chosen
