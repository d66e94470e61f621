"""Decoupled contrastive loss: NT-Xent whose denominator has the negatives only (Yeh et al. 2021, arXiv 2110.06848).

A pair that is close already then no longer takes the gradient from its negatives, which matters in small batches. For
each anchor exp(NT-Xent) = 1 + exp(this). It has no lower bound at 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.losses import tiles
from selfsight.losses.nt_xent import arranged
from selfsight.losses.precision import full, no_autocast

__all__ = ["decoupled", "weights"]


def decoupled(
    first: Float[Tensor, "B P"],
    second: Float[Tensor, "B P"],
    *,
    temperature: float,
    sigma: float | None = None,
    candidates: tuple[Float[Tensor, "N P"], Float[Tensor, "N P"]] | None = None,
    offset: int = 0,
) -> Float[Tensor, ""]:
    """-s / temperature + log sum exp over the 2N - 2 negatives, mean over the 2B anchors; arguments as in `nt_xent`.

    With `sigma` the first part has the `weights` of DCLW.
    """
    with no_autocast(first):
        anchors, pool, itself, partner = arranged(first, second, candidates, offset)
        share = anchors.new_ones(len(first))
        if sigma is not None:
            share = weights(*(candidates or (first, second)), sigma)[offset : offset + len(first)]
        shares = share.repeat(2)  # (2B,)

        def cost(logits: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
            at = torch.arange(len(logits), device=logits.device)
            close = shares[strip] * logits[at, partner[strip]]
            logits[at, itself[strip]] = logits[at, partner[strip]] = float("-inf")
            loss = (logits.logsumexp(dim=1) - close).sum()
            slope = logits.softmax(dim=1)
            slope[at, partner[strip]] = -shares[strip]
            return loss, slope

        return tiles.total(cost, anchors / temperature, pool) / len(anchors)


def weights(first: Float[Tensor, "N P"], second: Float[Tensor, "N P"], sigma: float) -> Float[Tensor, "N"]:
    """DCLW: 2 - N * softmax(s / sigma) of the N pairs' cosines, without gradient; their mean is 1. Easy pairs have
    less, and a very close one less than 0."""
    cosines = (full(first) * full(second)).sum(dim=-1).detach()
    return 2 - len(cosines) * (cosines / sigma).softmax(dim=0)
