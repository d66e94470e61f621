"""What to label next: pictures that between them leave none of the others far from a labelled one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from selfsight.searching.index import Index

__all__ = ["diverse"]


def diverse(index: Index, rows: Int[np.ndarray, "N"], n: int) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """n of these rows, each the least like all that are labelled or chosen before it, and how like that was.

    Greedy k-centre (Gonzalez 1985; for choosing what to label, Sener and Savarese 2018). Labelled rows count as chosen;
    where all or none are labelled, it begins with the row nearest to the mean. The same every time.
    """
    labelled = np.array([index.labels[row] is not None for row in rows], bool)
    free = rows if labelled.all() else rows[~labelled]
    known = rows[:0] if labelled.all() else rows[labelled]
    if not len(free):
        return free, np.zeros(0, np.float32)
    pool = index.unit(free)
    if len(known):
        nearest = index.nearest(pool, 1, np.isin(index.rows, known))[0][:, 0]
    else:
        nearest = 1 - pool @ pool.mean(axis=0)  # so that the most usual one is first
    chosen, likeness = [], []
    for number in range(min(n, len(free))):
        place = int(nearest.argmin())
        chosen.append(place)
        likeness.append(nearest[place] if number or len(known) else 0.0)
        cosines = pool @ pool[place]
        nearest = np.maximum(nearest, cosines) if number or len(known) else cosines
        nearest[chosen] = np.inf
    return free[chosen], np.array(likeness, np.float32)
