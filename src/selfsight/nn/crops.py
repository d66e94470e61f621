"""Views of two sizes through one network (Caron et al. 2020, SwAV)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["projected"]


def projected(encoder: nn.Module, head: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "B V P"]:
    """`views`, then `crops` where there are some: those of one size in one encoder batch, all in one of the head."""
    pixels = [batch[name] for name in ("views", "crops") if name in batch]  # (B, V, h, w, C) each
    rows = [encoder(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in pixels]
    embeddings = torch.cat(rows, dim=1)  # (B, V, F)
    found: Tensor = head(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
    return found
