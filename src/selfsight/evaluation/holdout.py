"""Set a part of the training pictures aside, whole groups at a time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int


def by_group(groups: Int[np.ndarray, "N"], share: float, seed: int = 0) -> Bool[np.ndarray, "N"]:
    """True for about `share` of the rows; a group is wholly in or wholly out, and the same seed gives the same rows.

    Groups are taken in a shuffled order as long as they fit. Where none fits, the smallest is taken, so the part is
    empty only when there are fewer than two groups.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    taken = np.zeros(len(names), dtype=bool)
    room = share * len(groups)
    for group in np.random.default_rng(seed).permutation(len(names)):
        if sizes[group] <= room:
            taken[group] = True
            room -= sizes[group]
    if len(names) > 1 and not taken.any():
        taken[np.argmin(sizes)] = True
    return taken[member]
