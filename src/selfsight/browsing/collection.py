"""What a page is about: pictures by number, and what one encoder, or two, made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.errors import RunError
from selfsight.evaluation import classifier
from selfsight.evaluation.classifier import Classifier
from selfsight.searching.index import Index

__all__ = ["Collection", "Side", "gather"]

Found = list[tuple[int, float]]  # pictures and their cosine, best first


@dataclass(frozen=True, eq=False)
class Side:
    """One encoder's view of the pictures: picture i is row `rows[i]` of the index."""

    title: str
    index: Index
    rows: Int[np.ndarray, "N"]

    @cached_property
    def vectors(self) -> Float[np.ndarray, "N D"]:
        """A row for each picture; mapped, not read, where the index holds nothing else."""
        whole = len(self.rows) == len(self.index) and np.array_equal(self.rows, self.index.rows)
        return self.index.vectors if whole else self.index.vectors[self.rows]

    @cached_property
    def key(self) -> str:
        """What anything computed from these vectors, in this order, belongs to."""
        told = (str(self.index.facts.get("encoder")), str(self.index.facts.get("table")))
        return blake2b(repr(told).encode() + self.rows.tobytes(), digest_size=8).hexdigest()

    @cached_property
    def kept(self) -> Path:
        """The folder beside the index where what was computed stays."""
        return Path(self.index.where) / "browse"

    @cached_property
    def classifier(self) -> Classifier | None:
        """What `classify` left in the run; None where it did not, or for another encoder."""
        try:
            return classifier.kept(self.index.eye.folder / "classifier", str(self.index.facts["encoder"]))
        except RunError:
            return None

    def nearest(self, vectors: Float[np.ndarray, "Q D"], k: int) -> list[Found]:
        """The k pictures nearest to each vector."""
        scores, rows = self.index.nearest(vectors, k, self._own)
        places = self.place[rows]
        return [[*zip(row.tolist(), map(float, near), strict=True)] for row, near in zip(places, scores, strict=True)]

    def neighbours(self, ids: Int[np.ndarray, "Q"], k: int) -> list[Found]:
        """The k pictures nearest to each of these, itself not among them."""
        found = self.nearest(self.vectors[ids], k + 1)
        return [[one for one in near if one[0] != own][:k] for own, near in zip(ids, found, strict=True)]

    @cached_property
    def place(self) -> Int[np.ndarray, "M"]:
        """The picture of each row of the index; -1 for none."""
        place = np.full(len(self.index), -1, np.int64)
        place[self.rows] = np.arange(len(self.rows))
        return place

    @cached_property
    def _own(self) -> Bool[np.ndarray, "M"] | None:
        own: Bool[np.ndarray, "M"] = self.place >= 0
        return None if own.all() else own


@dataclass(frozen=True, eq=False)
class Collection:
    """N pictures; `groups` are a name, or None of one picture alone, `splits` train, test or None. A number is all that
    a browser ever sends."""

    title: str
    names: list[str]
    paths: list[str]
    labels: list[str | None]
    groups: list[str | None]
    splits: list[str | None]
    sides: list[Side]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def version(self) -> str:
        """Changes with the pictures and the encoders."""
        return blake2b("".join(side.key for side in self.sides).encode(), digest_size=6).hexdigest()


def gather(indexes: Sequence[Index]) -> Collection:
    """The pictures that all indexes hold, in the order of the first.

    RunError when there is none in common, or when they are of documents.
    """
    for index in indexes:
        if index.facts.get("kind", "pictures") != "pictures":
            raise RunError(f"{index.where!r} is of {index.facts['kind']}, and browse shows pictures")
    first = indexes[0]
    if len(indexes) == 1:
        return _collection(first, first.rows, [Side(_title(first), first, first.rows)])
    places = [dict(zip(index.paths, range(len(index)), strict=True)) for index in indexes]
    common = [path for path in places[0] if all(path in place for place in places)]
    if not common:
        raise RunError(
            f"{indexes[0].where!r} and {indexes[1].where!r} have no picture in common; embed the same pictures with "
            "both: selfsight embed RUN DATA --out DIR"
        )
    rows = [np.array([place[path] for path in common], np.int64) for place in places]
    titles = [_title(index) for index in indexes]
    if len(set(titles)) < len(titles):
        titles = [index.where for index in indexes]
    sides = [Side(*one) for one in zip(titles, indexes, rows, strict=True)]
    return _collection(first, rows[0], sides)


def _collection(index: Index, rows: Int[np.ndarray, "N"], sides: list[Side]) -> Collection:
    names, paths, labels = index.names, index.paths, index.labels
    known = [index.parts[row] for row in rows]
    return Collection(
        " and ".join(side.title for side in sides),
        _told([names[row] for row in rows]),
        [paths[row] for row in rows],
        [labels[row] for row in rows],
        [part.group or None if part else None for part in known],
        [part.split if part else None for part in known],
        sides,
    )


def _told(names: list[str]) -> list[str]:
    """Names for a browser, which is told no path of this machine: a table may call pictures by theirs."""
    absolute = [os.path.dirname(name) for name in names if os.path.isabs(name)]
    top = os.path.commonpath(absolute) if absolute else ""
    return [os.path.relpath(name, top) if os.path.isabs(name) else name for name in names]


def _title(index: Index) -> str:
    return Path(index.where).resolve().name or "pictures"
