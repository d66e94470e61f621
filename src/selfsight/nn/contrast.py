"""Contrast: each picture of a batch brought to the same spread by itself, so that brightness tells nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["centred", "standardised", "unit_energy", "without"]

FLAT = 1e-5  # less spread is rounding: one grey level in one of 64 x 64 pixels is 2e-4 once an encoder has scaled it


def centred(pixels: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Each channel of each picture less its own mean."""
    return pixels - pixels.mean(dim=(2, 3), keepdim=True)


def standardised(pixels: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Each channel of each picture with mean 0 and deviation 1; a constant one is 0."""
    spread = pixels.std(dim=(2, 3), keepdim=True, correction=0)
    return torch.where(spread > FLAT, centred(pixels) / spread, 0.0)


def unit_energy(pixels: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Each picture divided by the root of its mean square over pixels and channels; one of nothing is 0."""
    energy = pixels.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return torch.where(energy > FLAT, pixels / energy, 0.0)


def without(axis: Sequence[float], pixels: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Each pixel less its part along an axis of the colour space: (I - a a^T / a.a) x."""
    unit = pixels.new_tensor(axis)[:, None, None]
    unit = unit / unit.square().sum().sqrt()  # (C, 1, 1)
    return pixels - unit * (pixels * unit).sum(dim=1, keepdim=True)
