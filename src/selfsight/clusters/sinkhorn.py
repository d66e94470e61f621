"""Balanced soft assignment: rows to K prototypes so that all prototypes get as much (Cuturi 2013, SwAV)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sinkhorn"]


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "B *V K"], *, epsilon: float, iterations: int) -> Float[Tensor, "B *V K"]:
    """Shares of the prototypes for each row, within a view: exp(scores / epsilon), scaled in turn until a prototype has
    B / K in all and a row 1. After a few iterations the first holds only nearly. A smaller `epsilon` is sharper."""
    wide = scores.float() if scores.device.type == "mps" else scores.double()  # Metal has no float64
    shares, least = ((wide - wide.max()) / epsilon).exp(), torch.finfo(wide.dtype).tiny
    for _ in range(iterations):
        shares = shares / shares.sum(dim=0, keepdim=True).clamp(min=least)
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp(min=least)
    return shares.to(scores.dtype)
