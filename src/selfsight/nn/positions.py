"""Where a patch lies, as sines and cosines of its row and column (He et al. 2022; Vaswani et al. 2017 in a line)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["waves"]


def waves(grid: tuple[int, int], width: int) -> Float[Tensor, "L D"]:
    """A quarter of the width each for sines and cosines of column and row, wavelengths from 2 pi to 10,000 times that.

    Row-major, as patches are; `width` is a multiple of 4.
    """
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    rates = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = [place.flatten()[:, None] * rates for place in (columns, rows)]  # (L, D / 4) each
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).float()
