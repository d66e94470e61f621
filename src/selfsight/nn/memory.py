"""The newest projection of every picture: what DeepCluster-v2 clusters instead of a pass over all pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["Memory"]


class Memory(nn.Module):
    """`rows` (V, N, P): for each of V views the newest projection of N pictures, zeros at first. All of it is state."""

    rows: Float[Tensor, "V N P"]

    def __init__(self, views: int, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(views, count, width))

    @torch.no_grad()
    def write(self, index: Int[Tensor, "B"], views: Float[Tensor, "B V P"]) -> None:
        """Overwrite the rows of the pictures `index`; of one that is there twice, the last counts on any device."""
        last = ~(index[:, None] == index).triu(diagonal=1).any(dim=1)
        self.rows[:, index[last]] = views[last].transpose(0, 1).to(self.rows.dtype)
