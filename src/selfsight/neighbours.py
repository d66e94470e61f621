"""The one nearest-neighbour function: exact cosine search in tiles."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SMALLEST_NORM = 1e-12  # methods.md 0: a row of zeros stays zeros, its cosine with everything is 0


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
    chunk: int = 1024,
) -> tuple[Float[np.ndarray, "Q k"], Int[np.ndarray, "Q k"]]:
    """The k rows of the gallery with the largest cosine to each query, best first.

    Rows are brought to length one here. Equal scores are ordered by the lower index. With `exclude_self`, queries and
    gallery are the same rows, and row i is no neighbour of query i. Memory is O(chunk x N).
    Returns cosines (Q, k) in the inputs' dtype and indices (Q, k) int64.
    Raises ValueError when k is below 1 or above the number of rows there are to find.
    """
    available = len(gallery) - int(exclude_self)
    if not 1 <= k <= available:
        raise ValueError(f"k = {k} neighbours asked for, but there are {available} rows to find them among")
    columns = torch.from_numpy(unit(gallery)).T
    rows = torch.from_numpy(unit(queries))
    scores = np.empty((len(queries), k), dtype=queries.dtype)
    indices = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), chunk):
        cosines = rows[start : start + chunk] @ columns  # (chunk, N)
        if exclude_self:
            own = torch.arange(len(cosines))
            cosines[own, own + start] = -torch.inf
        best, where = _largest(cosines, k)
        scores[start : start + chunk], indices[start : start + chunk] = best.numpy(), where.numpy()
    return scores, indices


def _largest(cosines: Float[Tensor, "Q N"], k: int) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
    """`topk` with a stated order: it leaves open which of several equal scores it returns."""
    _, where = cosines.topk(k, dim=1)
    where = where.sort(dim=1).values  # by index, so that the stable sort below settles ties
    best = cosines.gather(1, where)
    torn = (cosines >= best.amin(dim=1, keepdim=True)).sum(dim=1) > k  # equal scores on both sides of the cut
    if torn.any():
        where[torn] = cosines[torn].sort(dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
        best = cosines.gather(1, where)
    best, order = best.sort(dim=1, descending=True, stable=True)
    return best, where.gather(1, order)
