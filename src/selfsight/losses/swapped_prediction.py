"""Swapped prediction: each view tells which prototypes the picture's other views belong to (Caron et al. 2020, 2021).

In SwAV codes say that, in DINO a teacher, whose scores are centred and sharpened: without the first all pictures end in
one prototype, without the second in all of them alike.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.losses.precision import full, no_autocast

__all__ = ["sharpened", "swapped_prediction"]


def sharpened(
    scores: Float[Tensor, "*B K"], centre: Float[Tensor, "K"], *, temperature: float
) -> Float[Tensor, "*B K"]:
    """softmax((scores - centre) / temperature): the teacher's shares of K prototypes."""
    with no_autocast(scores):
        return ((full(scores) - full(centre)) / temperature).softmax(dim=-1)


def swapped_prediction(
    scores: Float[Tensor, "B V K"], shares: Float[Tensor, "B G K"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of view v's softmax(scores / temperature) with the shares of view g, mean over pictures and all
    pairs g != v. The first G of a picture's V views are those whose shares are known."""
    with no_autocast(scores):
        logs = (full(scores) / temperature).log_softmax(dim=-1)
        pairs = torch.einsum("bgk,bvk->gv", full(shares), logs)  # (G, V)
        count = pairs.numel() - len(pairs)
        return (pairs.diagonal().sum() - pairs.sum()) / (count * len(scores))
