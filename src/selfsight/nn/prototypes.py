"""Prototypes: K directions, and how far each row goes along them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.init import trunc_normal_

from selfsight.losses.precision import no_autocast, unit

__all__ = ["Prototypes"]


class Prototypes(nn.Module):
    """(B, P) -> (B, K): the cosines of rows with K directions. A linear layer with weight norm and the gain 1."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(trunc_normal_(torch.empty(count, width), std=0.02))

    def forward(self, rows: Float[Tensor, "*B P"]) -> Float[Tensor, "*B K"]:
        """Cosines, in full precision."""
        with no_autocast(rows):
            return unit(rows) @ unit(self.weight).T

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the directions to length 1 again: what an optimizer's step is worth then does not depend on it."""
        self.weight.copy_(unit(self.weight))
