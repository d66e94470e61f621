"""Prototypes: K directions, and how far each row goes along them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.init import trunc_normal_

__all__ = ["Prototypes"]


class Prototypes(nn.Module):
    """(B, P) -> (B, K): the cosines of rows with K directions. A linear layer with weight norm and the gain 1."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(trunc_normal_(torch.empty(count, width), std=0.02))

    def forward(self, rows: Float[Tensor, "*B P"]) -> Float[Tensor, "*B K"]:
        """Cosines, in the precision of the weights."""
        with torch.autocast(rows.device.type, enabled=False):
            return normalize(rows.to(self.weight.dtype), dim=-1) @ normalize(self.weight, dim=-1).T

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the directions to length 1 again: what an optimizer's step is worth then does not depend on it."""
        self.weight.copy_(normalize(self.weight, dim=-1))
