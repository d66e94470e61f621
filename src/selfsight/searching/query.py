"""From what people ask for to one vector: files, rows and names, what to be like and what to be less like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from selfsight.errors import DataError
from selfsight.neighbours import unit
from selfsight.searching.narrow import Narrow

__all__ = ["Query", "Searchable", "asked"]

UNLIKE = 0.5  # weight of what to be less like beside that of what to be like (Rocchio 1971 has 1 and below)


class Searchable(Protocol):
    """An index in files, or in a database."""

    where: str

    def __len__(self) -> int: ...
    def embed(self, sample: str | Path | bytes) -> Float[np.ndarray, "D"]: ...
    def row_of(self, name: str) -> int | None: ...
    def vector(self, row: int) -> Float[np.ndarray, "D"]: ...
    def find(
        self, vector: Float[np.ndarray, "D"], k: int, narrow: Narrow, without: Sequence[int] = ()
    ) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Query:
    """A vector, and the rows that were named: they are no answer."""

    vector: Float[np.ndarray, "D"]
    own: tuple[int, ...]


def asked(index: Searchable, like: Sequence[str], unlike: Sequence[str]) -> Query:
    """The mean of the unit vectors of `like`, less half the mean of those of `unlike`.

    A word of digits is a row; else a file; else the name of a picture in the index, whose file may be gone. Raises
    DataError for what is none of these, ImageError for a file that cannot be decoded.
    """
    toward, away = ([_vector(index, word) for word in words] for words in (like, unlike))
    vector = _mean(toward) - (UNLIKE * _mean(away) if away else 0)
    return Query(np.asarray(vector, np.float32), tuple(row for _, row in (*toward, *away) if row is not None))


def _mean(found: list[tuple[Float[np.ndarray, "D"], int | None]]) -> Float[np.ndarray, "D"]:
    return np.asarray(unit(np.stack([vector for vector, _ in found])).mean(axis=0))


def _vector(index: Searchable, word: str) -> tuple[Float[np.ndarray, "D"], int | None]:
    if word.isdecimal():
        return index.vector(int(word)), int(word)
    if Path(word).is_file():
        return index.embed(word), None
    row = index.row_of(word)
    if row is None:
        raise DataError(
            f"{word!r} is neither a file, nor a row of {index.where!r}, nor a picture's name in it; give one of these"
        )
    return index.vector(row), row
