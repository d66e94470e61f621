"""How evenly codes are used: the entropy of their distribution, in nats. Its exponential is the perplexity."""

from __future__ import annotations

from math import log

from jaxtyping import Float
from torch import Tensor, xlogy

from selfsight.losses.precision import full, no_autocast

__all__ = ["divergence_from_even", "entropy"]


def entropy(counts: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """The entropy of counts or shares: log V when all are used alike, 0 when one is used. No counts at all give 0."""
    shares = full(counts) / full(counts).sum(dim=-1, keepdim=True).clamp(min=1e-12)
    return -xlogy(shares, shares).sum(dim=-1)


def divergence_from_even(logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """KL(q || uniform) = log V - H(q) of q = softmax(logits): 0 for an open choice, log V for a certain one."""
    with no_autocast(logits):
        logs = full(logits).log_softmax(dim=-1)
        return log(logits.shape[-1]) + (logs.exp() * logs).sum(dim=-1)
