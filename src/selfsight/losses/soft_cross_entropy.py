"""Cross-entropy to targets that are spread over a few classes, one value for each location."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from selfsight.losses.precision import full

__all__ = ["soft_cross_entropy"]


def soft_cross_entropy(
    logits: Float[Tensor, "B Q *S"], classes: Int[Tensor, "B k *S"], shares: Float[Tensor, "B k *S"]
) -> Float[Tensor, "B *S"]:
    """-sum_k share_k log softmax(logits)[class_k], where the shares of each location sum to 1 and other classes have 0.

    Not averaged: the caller weighs and masks the locations and takes their mean over all ranks. With shares of sum 1
    it is log sum exp minus the shared mean of k logits, so nothing of size Q is kept beside the logits.
    """
    logits = full(logits)
    return logits.logsumexp(dim=1) - (full(shares) * logits.gather(1, classes)).sum(dim=1)
