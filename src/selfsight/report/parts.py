"""A table that is shown on the page and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field

Cell = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """One table: a cell is its number and, in smaller letters where there is room, its interval."""

    title: str
    words: str
    heads: list[str]
    rows: list[tuple[str, list[Cell]]]
    sentences: list[str] = field(default_factory=list)
    own: bool = True  # the first row is this run
