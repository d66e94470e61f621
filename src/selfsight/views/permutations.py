"""Permutations that are easy to tell apart: a greedy set with large Hamming distances (Noroozi & Favaro 2016).

Convention: permutation s shows in slot t the tile that belongs in slot s[t].
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, permutations
from math import factorial

import numpy as np
from jaxtyping import UInt8

__all__ = ["CRITERIA", "permutation_set"]

CRITERIA = ("min", "mean")


@lru_cache(maxsize=8)
def permutation_set(tiles: int, count: int, criterion: str = "min") -> UInt8[np.ndarray, "count tiles"]:
    """`count` permutations of 0..tiles-1, the identity first; each next one is farthest from those before. Read only.

    Farthest by the least distance ("min") or by the mean one ("mean", the paper's, which lets near twins in: at 100 of
    9 tiles the least distance is 2 instead of 6). Ties go to the lexicographically first.
    """
    every = np.fromiter(chain.from_iterable(permutations(range(tiles))), np.uint8).reshape(factorial(tiles), tiles)
    slots = every.T.copy()  # (tiles, all): a distance is `tiles` comparisons of whole rows
    far = np.full(len(every), tiles if criterion == "min" else 0, np.int32)
    chosen = np.zeros(count, np.int64)
    for place in range(1, count):
        last = every[chosen[place - 1]]
        distance = sum((slot != tile).view(np.uint8) for slot, tile in zip(slots, last, strict=True))
        far = np.minimum(far, distance) if criterion == "min" else far + distance
        far[chosen[:place]] = -1  # taken
        chosen[place] = far.argmax()
    table = every[chosen]
    table.setflags(write=False)
    return table
