"""Pictures like no other: their nearest neighbours are far."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from selfsight.searching.index import Index

__all__ = ["outliers"]

NEIGHBOURS = 10  # whose mean cosine is the score; one alone would miss a pair of odd ones


def outliers(index: Index, rows: Int[np.ndarray, "N"], k: int) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The k of these rows that are least like their ten nearest neighbours among them, and how like they are.

    The distance to near neighbours as a score: Angiulli and Pizzuti 2002. Equally odd ones stand in their order.
    """
    if len(rows) < 2:
        return rows[:0], np.zeros(0, np.float32)
    cosines, _ = index.neighbours(rows, NEIGHBOURS)
    likeness = cosines.mean(axis=1)
    order = np.argsort(likeness, kind="stable")[:k]
    return rows[order], likeness[order]
