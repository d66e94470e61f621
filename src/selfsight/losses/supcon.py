"""Supervised contrastive loss: each view finds every other view of its class (Khosla et al. 2020, arXiv 2004.11362).

Where no two pictures share a label this is NT-Xent. The released code multiplies by temperature / 0.07; here
`base_temperature` does, which is the temperature itself unless it is given.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selfsight.losses.precision import full, no_autocast

__all__ = ["FORMS", "masks", "sup_con"]

FORMS = ("outside", "inside", "sum-in-log")
"""Mean over the positives outside the logarithm (the paper's L_out, eq. 2), inside it (L_in, eq. 3), or their plain sum
inside it, as in solo-learn. Inside is never above outside (Jensen)."""


def sup_con(
    views: Float[Tensor, "B V P"],
    labels: Int[Tensor, "N"],
    *,
    temperature: float,
    base_temperature: float | None = None,
    form: str = "outside",
    contrast_mode: str = "all",
    empty_anchor: str = "drop",
    candidates: Float[Tensor, "N V P"] | None = None,
    offset: int = 0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Sum over the anchors of -log of the share that the positives have among all candidates but the anchor itself, and
    the number of anchors: the loss is their quotient, and over ranks `distributed.mean` of them. Rows are unit vectors.

    `labels` are the candidates'; a negative one is a class of its own. `candidates` are the views of all ranks' images
    when the anchors are one rank's; its rows `offset ... offset + B` are the anchors' images. Anchors are all views, or
    with `contrast_mode="one"` the first view of each image. An anchor without a positive (one view, one image of its
    class) is dropped, or with `empty_anchor="zero"` counted as 0.
    """
    with no_autocast(views):
        pool = views if candidates is None else candidates
        anchors = views if contrast_mode == "all" else views[:, :1]
        positive, itself = masks(labels, len(anchors), anchors.shape[1], pool.shape[1], offset)  # (A, V * N) each
        logits = _rows(anchors) @ _rows(pool).T / temperature
        logs = logits.masked_fill(itself, float("-inf")).log_softmax(dim=1)
        counted = positive.any(dim=1)  # (A,)
        count = positive.sum(dim=1).clamp(min=1).to(logs.dtype)
        if form == "outside":
            found = torch.where(positive, logs, 0.0).sum(dim=1) / count
        else:
            chosen = positive | ~counted[:, None]  # a row of -inf alone would have a gradient of NaN
            found = logs.masked_fill(~chosen, float("-inf")).logsumexp(dim=1)
            found = found - count.log() if form == "inside" else found
        total = -torch.where(counted, found, 0.0).sum() * temperature / (base_temperature or temperature)
        return total, (counted if empty_anchor == "drop" else torch.ones_like(counted)).sum().to(total.dtype)


def masks(
    labels: Int[Tensor, "N"], images: int, anchor_views: int, views: int, offset: int = 0
) -> tuple[Bool[Tensor, "A C"], Bool[Tensor, "A C"]]:
    """Which candidates are an anchor's positives, and which one is itself. Rows and columns are view-major:
    all images' first views, then all second ones."""
    place = torch.arange(len(labels), device=labels.device)
    classes = torch.where(labels < 0, -1 - place, labels)
    own = place[offset : offset + images]
    first = len(labels) * torch.arange(anchor_views, device=labels.device)  # candidate at which a view begins
    itself = (first[:, None] + own).flatten()[:, None] == torch.arange(views * len(labels), device=labels.device)
    same = (classes[own, None] == classes).repeat(anchor_views, views)
    return same & ~itself, itself


def _rows(views: Float[Tensor, "B V P"]) -> Float[Tensor, "R P"]:
    return full(views.transpose(0, 1).flatten(0, 1))
