"""Top-1: the share of a batch's anchors that are nearer to a positive than to all else the loss compares them with.

It is written down and not learned from, so that at most `ASKED` anchors are asked. Rows are unit vectors.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsight.losses.precision import full, no_autocast
from selfsight.losses.supcon import classes_of

__all__ = ["ASKED", "of_keys", "of_matches", "of_views"]

ASKED = 128


@torch.no_grad()
def of_views(
    views: Float[Tensor, "B V P"],
    candidates: Float[Tensor, "N V P"],
    labels: Int[Tensor, "N"] | None = None,
    *,
    offset: int = 0,
) -> Float[Tensor, ""]:
    """Whether the nearest of all views but itself is of an image's class, for its first view; arguments as in
    `sup_con`. Without labels each image is a class of its own."""
    with no_autocast(views):
        scores = full(views[:ASKED, 0]) @ full(candidates.transpose(0, 1).flatten(0, 1)).T  # (R, V * N)
    itself = offset + torch.arange(len(scores), device=scores.device)
    nearest = scores.scatter_(1, itself[:, None], float("-inf")).argmax(dim=1) % len(candidates)
    classes, _ = classes_of(torch.arange(len(candidates), device=itself.device) if labels is None else labels)
    return (classes[nearest] == classes[itself]).float().mean()


@torch.no_grad()
def of_keys(
    query: Float[Tensor, "B P"], key: Float[Tensor, "B P"], negatives: Float[Tensor, "K P"]
) -> Float[Tensor, ""]:
    """Whether a query is nearer to its own key than to all negatives; arguments as in `info_nce`."""
    with no_autocast(query):
        asked = full(query[:ASKED])
        own, others = (asked * full(key[:ASKED])).sum(dim=1), (asked @ full(negatives).T).amax(dim=1)
    return (own > others).float().mean()


@torch.no_grad()
def of_matches(rows: Float[Tensor, "B P"], candidates: Float[Tensor, "N P"], *, offset: int = 0) -> Float[Tensor, ""]:
    """Whether the nearest candidate is the row's own; arguments as in `matching`."""
    with no_autocast(rows):
        nearest = (full(rows[:ASKED]) @ full(candidates).T).argmax(dim=1)
    return (nearest == offset + torch.arange(len(nearest), device=nearest.device)).float().mean()
