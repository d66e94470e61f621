"""Whether an exported network answers as the run's encoder does, on real pictures, in batches of three sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from selfsight.errors import ExportError
from selfsight.neighbours import nearest, unit

__all__ = ["Answers", "answered", "checked"]

COSINE = 0.9999  # at least, of every vector with the encoder's own
NEIGHBOURS = 10  # that must stay
TIE = 1e-5  # pictures whose cosines differ by less are equally near: float32 leaves their order to chance
BATCHES = (1, 3, 32)  # the last also takes all pictures

Answers = Callable[[Tensor], Mapping[str, np.ndarray]]
"""Views (B, h, w, C) as integers to named vectors: (B, D), or (B, L, D) for patches."""


def answered(network: Answers, views: Shaped[Tensor, "N h w C"], batch: int = BATCHES[-1]) -> dict[str, np.ndarray]:
    """What a network makes of all views, so many at a time."""
    found = [network(part) for part in torch.split(views, batch)]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def checked(name: str, network: Answers, encoder: Answers, views: Shaped[Tensor, "N h w C"]) -> dict[str, Any]:
    """Facts of the comparison; ExportError when a vector is another one, or has other neighbours."""
    lowest = 1.0
    for batch in BATCHES:
        shown = views if batch == BATCHES[-1] else views[:batch]
        own, other = answered(encoder, shown), answered(network, shown, batch)
        for output in own:
            cosine = lowest_cosine(own[output], other[output])
            if not cosine >= COSINE:  # NaN is not either
                raise ExportError(
                    f"{name} gives another {output} than the run's encoder: cosine {cosine:.6f} in batches of {batch}, "
                    f"and at least {COSINE} is needed; nothing was written. Please report it with the encoder's name"
                )
            lowest = min(lowest, cosine)
    for output in own:
        if changed := moved(own[output], other[output]):
            raise ExportError(
                f"{name} finds other pictures nearest than the run's encoder, for {changed} of {len(views)} pictures "
                f"by {output}; nothing was written. Please report it with the encoder's name"
            )
    return {"pictures": len(views), "batches": list(BATCHES), "lowest_cosine": lowest, "neighbours_changed": 0}


def lowest_cosine(own: Float[np.ndarray, "N ... D"], other: Float[np.ndarray, "N ... D"]) -> float:
    """Of vectors with their counterparts; two vectors of zeros are the same."""
    one, two = (unit(rows.reshape(-1, rows.shape[-1]).astype(np.float64)) for rows in (own, other))
    return float(np.where(one.any(axis=1) | two.any(axis=1), (one * two).sum(axis=1), 1.0).min())


def moved(own: Float[np.ndarray, "N ..."], other: Float[np.ndarray, "N ..."]) -> int:
    """How many pictures have other nearest ones, ties apart."""
    one, two = (rows.reshape(len(rows), -1) for rows in (own, other))
    k = min(NEIGHBOURS, len(one) - 1)
    if k < 1:
        return 0
    last = nearest(one, one, k, exclude_self=True)[0][:, -1]
    found = nearest(two, two, k, exclude_self=True)[1]
    cosines = np.take_along_axis(unit(one) @ unit(one).T, found, axis=1)
    return int((cosines.min(axis=1) < last - TIE).sum())
