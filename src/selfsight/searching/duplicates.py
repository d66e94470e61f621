"""Pictures that are there more than once: the same file, or nearly the same picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from jaxtyping import Int

from selfsight.data.decode import decode, displayed
from selfsight.data.splits import united
from selfsight.embedding import progress
from selfsight.errors import ImageError
from selfsight.evaluation.leaks import CANDIDATES, Cells, grid
from selfsight.searching.index import Index

__all__ = ["duplicates"]

CLOSE = 0.7  # pictures whose vectors are less alike are not opened; copies of half the size had 0.72 at least
READERS = 2  # threads


def duplicates(index: Index, rows: Int[np.ndarray, "N"]) -> list[list[int]]:
    """Groups of two or more rows that show the same, the largest first.

    The same file is told by its digest. Of other pictures, the five nearest by embedding are compared cell by cell, as
    `evaluate` compares the parts (evaluation/leaks.py), so the decision does not rest on the encoder alone. Documents
    are told by the file only, and so are pictures that are gone.
    """
    digests = index.table["digest"].take(rows).to_pylist()
    links: list[list[tuple[str, object]]] = [[("file", digest)] for digest in digests]
    for number, (one, other) in enumerate(_alike(index, rows, digests)):
        links[one].append(("alike", number))
        links[other].append(("alike", number))
    groups: dict[int, list[int]] = {}
    for row, group in zip(rows.tolist(), united(links), strict=True):
        groups.setdefault(group, []).append(row)
    return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)


def _alike(index: Index, rows: Int[np.ndarray, "N"], digests: list[str]) -> list[tuple[int, int]]:
    """Pairs of places in `rows` that are nearly the same picture."""
    if len(rows) < 2:
        return []
    cosines, found = index.neighbours(rows, CANDIDATES)
    places = np.searchsorted(rows, found)
    one, nth = np.nonzero(cosines >= CLOSE)
    pairs = {(min(a, b), max(a, b)) for a, b in zip(one.tolist(), places[one, nth].tolist(), strict=True)}
    asked = sorted((a, b) for a, b in pairs if digests[a] != digests[b])
    which = sorted({place for pair in asked for place in pair})
    grids = _grids([index.paths[rows[place]] for place in which])
    seen = [(place, one) for place, one in zip(which, grids, strict=True) if one is not None]
    at = {place: number for number, (place, _) in enumerate(seen)}
    asked = [(a, b) for a, b in asked if a in at and b in at]
    if not asked:
        return []
    cells = Cells.of(np.stack([one for _, one in seen]))
    first, second = (np.array([at[pair[side]] for pair in asked]) for side in (0, 1))
    return [pair for pair, apart in zip(asked, cells.apart(first, second), strict=True) if np.isfinite(apart)]


def _grids(paths: list[str]) -> list[np.ndarray | None]:
    """Each picture as cells; None for one that cannot be read."""

    def seen(path: str) -> np.ndarray | None:
        with suppress(ImageError):
            return grid(displayed(decode(path)), 0, 255)
        return None

    with ThreadPoolExecutor(READERS) as pool, progress.line("comparing", len(paths)) as tell:
        found = []
        for number, one in enumerate(pool.map(seen, paths), 1):
            found.append(one)
            tell(number)
    return found
