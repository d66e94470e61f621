"""Gumbel noise that is keyed by sample: the same in every micro-batch, rank and replay."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["gumbel"]


def gumbel(keys: Int[Tensor, "B"], rows: int, count: int) -> Float[Tensor, "B rows count"]:
    """Standard Gumbel numbers, each sample's from its own key: minus the log of exponential ones."""
    generator = torch.Generator(keys.device)
    drawn = torch.empty(len(keys), rows, count, device=keys.device)
    for row, key in zip(drawn, keys.tolist(), strict=True):
        row.exponential_(generator=generator.manual_seed(key))
    return -drawn.clamp_(min=1e-30).log_()
