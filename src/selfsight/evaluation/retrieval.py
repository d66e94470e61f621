"""R@1: is the nearest other picture a right one (methods.md C3)?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.neighbours import nearest


def two_views(first: Float[np.ndarray, "N D"], second: Float[np.ndarray, "N D"]) -> Bool[np.ndarray, "N"]:
    """Whether a picture's second view is the nearest of all second views to its first one. Chance is 1 / N."""
    _, indices = nearest(first, second, 1)
    return np.asarray(indices[:, 0] == np.arange(len(first)))


def same_label(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], across: Int[np.ndarray, "N"] | None = None
) -> tuple[Bool[np.ndarray, "Q"], Int[np.ndarray, "Q"]]:
    """Whether the nearest other picture has the query's label, and which rows could be queries at all.

    With `across` (a vendor, a camera), only pictures of another value are searched: the same thing as others show it.
    Unlabelled rows (-1) take no part; a query without any right answer is left out, so Q <= N.
    """
    rows = np.flatnonzero(labels >= 0)
    apart = across if across is not None else np.zeros(len(labels), dtype=np.int64)
    right = np.zeros(len(labels), dtype=bool)
    asked = np.zeros(len(labels), dtype=bool)
    for value in np.unique(apart[rows]):
        queries = rows[apart[rows] == value]
        gallery = queries if across is None else rows[apart[rows] != value]
        if len(gallery) <= int(across is None):
            continue
        _, found = nearest(features[queries], features[gallery], 1, exclude_self=across is None)
        right[queries] = labels[gallery[found[:, 0]]] == labels[queries]
        names, counts = np.unique(labels[gallery], return_counts=True)
        enough = names[counts > int(across is None)]
        asked[queries] = np.isin(labels[queries], enough)
    kept = np.flatnonzero(asked)
    return right[kept], kept
