"""Supervised contrastive loss: each view finds every other view of its class (Khosla et al. 2020, arXiv 2004.11362).

Where no two pictures share a label this is NT-Xent. The released code multiplies by temperature / 0.07; here
`base_temperature` does, which is the temperature itself unless it is given.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selfsight.losses import tiles
from selfsight.losses.precision import full, no_autocast

__all__ = ["FORMS", "classes_of", "partnered", "positive", "sup_con"]

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
        classes, sizes = classes_of(labels)
        own = offset + torch.arange(len(anchors), device=labels.device)
        first = len(labels) * torch.arange(anchors.shape[1], device=labels.device)  # candidate at which a view begins
        itself = (first[:, None] + own).flatten()  # (A,) the candidate that an anchor is
        positives = (
            (pool.shape[1] * sizes[own] - 1).to(anchors.dtype).repeat(anchors.shape[1])
        )  # (A,) how many there are

        def cost(logits: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
            at, counted = torch.arange(len(logits), device=logits.device), positives[strip, None] > 0
            logits[at, itself[strip]] = float("-inf")
            logs = logits.log_softmax(dim=1)  # (R, V * N)
            chosen = positive(classes, itself[strip], pool.shape[1])
            found, sought = _found(logs, chosen, positives[strip, None], form)
            slope = torch.where(counted, logs.exp_() - sought, 0.0)  # a row of -inf alone is no number
            return -torch.where(counted, found, 0.0).sum(), slope

        total = tiles.total(cost, _rows(anchors) / temperature, _rows(pool))
        count = (positives > 0).sum() if empty_anchor == "drop" else torch.tensor(len(positives), device=labels.device)
        return total * temperature / (base_temperature or temperature), count.to(total.dtype)


def classes_of(labels: Int[Tensor, "N"]) -> tuple[Int[Tensor, "N"], Int[Tensor, "N"]]:
    """Each image's class, an unlabelled one its own, and how many images that class has."""
    place = torch.arange(len(labels), device=labels.device)
    names = torch.where(labels < 0, -1 - place, labels)
    _, classes, sizes = torch.unique(names, return_inverse=True, return_counts=True)
    return classes, sizes[classes]


def partnered(labels: Int[Tensor, "N"], batch: int) -> float:
    """The share of a batch's images that has another of its class in it, where batches are drawn at random.

    Of an image's N - 1 others each is in its batch with a chance of (batch - 1) / (N - 1), taken as independent.
    """
    absent = 1 - (batch - 1) / max(len(labels) - 1, 1)
    return float((1 - absent ** (classes_of(labels)[1] - 1)).mean())


def positive(classes: Int[Tensor, "N"], itself: Int[Tensor, "R"], views: int) -> Bool[Tensor, "R C"]:
    """Which candidates are an anchor's positives: those of its class but itself. Candidates are view-major: all images'
    first views, then all second ones."""
    every = classes.repeat(views)
    same = every[itself, None] == every
    same[torch.arange(len(itself), device=itself.device), itself] = False
    return same


def _found(
    logs: Float[Tensor, "R C"], positive: Bool[Tensor, "R C"], count: Float[Tensor, "R 1"], form: str
) -> tuple[Float[Tensor, "R 1"], Float[Tensor, "R C"]]:
    """An anchor's mean log share of the positives, or log of their sum or mean; and the shares that it seeks."""
    if form == "outside":
        sought = positive / count.clamp(min=1)
        return torch.where(positive, logs, 0.0).sum(dim=1, keepdim=True) / count.clamp(min=1), sought
    among = logs.masked_fill(~positive, float("-inf"))
    found = among.logsumexp(dim=1, keepdim=True)
    return found - count.log() if form == "inside" else found, among.softmax(dim=1)


def _rows(views: Float[Tensor, "B V P"]) -> Float[Tensor, "R P"]:
    return full(views.transpose(0, 1).flatten(0, 1))
