"""The one nearest-neighbour function: exact cosine search in tiles."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SMALLEST_NORM = 1e-12  # a row of zeros stays zeros, its cosine with everything is 0
TILE = 2**25  # cosines held at once: 128 MiB of float32; with half of it the products took a quarter longer


def unit(rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Rows of length one; a row of zeros stays zeros. The dtype is kept."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, SMALLEST_NORM).astype(rows.dtype))


def nearest(
    queries: Float[np.ndarray, "Q D"],
    gallery: Float[np.ndarray, "N D"],
    k: int,
    *,
    exclude_self: bool = False,
    lengths: Float[np.ndarray, "N"] | None = None,
    among: Bool[np.ndarray, "N"] | None = None,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "Q k"], Int[np.ndarray, "Q k"]]:
    """The k rows of the gallery with the largest cosine to each query, best first.

    Rows are brought to length one here. Equal scores are ordered by the lower index. With `exclude_self`, queries and
    gallery are the same rows, and row i is no neighbour of query i. With `among`, only these rows are found. The
    gallery is copied unless the `lengths` of its rows are given. Beyond that, memory is O(chunk x N); by default a
    chunk of queries fills 128 MiB with float32 cosines.
    Returns cosines (Q, k) in the inputs' dtype and indices (Q, k) int64.
    Raises ValueError when k is below 1 or above the number of rows there are to find.
    """
    available = (len(gallery) if among is None else int(among.sum())) - int(exclude_self)
    if not 1 <= k <= available:
        raise ValueError(f"k = {k} neighbours asked for, but there are {available} rows to find them among")
    columns = torch.from_numpy(unit(gallery) if lengths is None else gallery).T
    scale = None if lengths is None else torch.from_numpy(1 / np.maximum(lengths, SMALLEST_NORM).astype(gallery.dtype))
    barred = None if among is None else torch.from_numpy(np.where(among, 0, -np.inf).astype(gallery.dtype))
    rows = torch.from_numpy(unit(queries))
    chunk = min(chunk or max(1, TILE // len(gallery)), len(queries))
    tile = torch.empty(chunk, len(gallery), dtype=rows.dtype)  # once: the system clears every page that it gives
    scores = np.empty((len(queries), k), dtype=queries.dtype)
    indices = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), chunk):
        part = rows[start : start + chunk]
        cosines = torch.mm(part, columns, out=tile[: len(part)])  # (chunk, N)
        if scale is not None:
            cosines *= scale
        if barred is not None:
            cosines += barred
        if exclude_self:
            own = torch.arange(len(cosines))
            cosines[own, own + start] = -torch.inf
        best, where = largest(cosines, k)
        scores[start : start + chunk], indices[start : start + chunk] = best.numpy(), where.numpy()
    return scores, indices


def largest(cosines: Float[Tensor, "Q N"], k: int) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
    """`topk` with a stated order: it leaves open which of several equal scores it returns, and in which order."""
    best, where = cosines.topk(min(k + 1, cosines.shape[1]), dim=1)  # one more, to see equal scores on both sides
    equal = best[:, 1:] == best[:, :-1]
    torn = equal[:, k - 1] if equal.shape[1] == k else torch.zeros(len(best), dtype=torch.bool)
    best, where = best[:, :k].contiguous(), where[:, :k].contiguous()
    if torn.any():
        where[torn] = cosines[torn].sort(dim=1, descending=True, stable=True).indices[:, :k]
    if (tied := equal.any(dim=1)).any():
        places = where[tied].sort(dim=1).values  # by index, so that the stable sort settles ties
        best[tied], order = cosines[tied].gather(1, places).sort(dim=1, descending=True, stable=True)
        where[tied] = places.gather(1, order)
    return best, where
