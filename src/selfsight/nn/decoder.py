"""A small decoder: vectors on a grid of patches to what is to stand there."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

__all__ = ["Decoder"]


class Decoder(nn.Module):
    """(B, L, width) -> (B, L, out) over a grid of L patches; each place sees its eight neighbours.

    Small, so that what stands at a place must be in its own vector.
    """

    def __init__(self, width: int, out: int, grid: tuple[int, int], hidden: int = 256) -> None:
        super().__init__()
        self.grid, self.places = grid, grid[0] * grid[1]
        self.enter = nn.Linear(width, hidden)
        self.around = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.leave = nn.Linear(hidden, out)

    def forward(self, vectors: Float[Tensor, "B L P"]) -> Float[Tensor, "B L Q"]:
        """Enter, look around, leave."""
        rows = gelu(self.enter(vectors))
        maps = rows.transpose(1, 2).reshape(len(rows), -1, *self.grid)
        made: Tensor = self.leave(rows + gelu(self.around(maps)).flatten(2).transpose(1, 2))
        return made
