"""Several views of a picture through one network: each in a batch of its own, or those of a size together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsight.nn.encoder import Encoder

__all__ = ["apart", "projected", "taking"]


def taking(encoder: Encoder, small: int | None, share: float) -> Encoder:
    """The encoder, which takes `small` views of this share of its size too: RecipeError where it cannot."""
    if small:
        encoder.check(round(encoder.size * share))
    return encoder


def apart(views: Tensor, *networks: Callable[[Tensor], Tensor]) -> Float[Tensor, "B V P"]:
    """Every view (B, V, ...) through one network after another, in a batch and with batch statistics of its own."""
    rows = []
    for view in views.unbind(dim=1):
        for network in networks:
            view = network(view)
        rows.append(view)
    return torch.stack(rows, dim=1)


def projected(encoder: nn.Module, head: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "B V P"]:
    """`views`, then `crops` where there are some: those of one size in one encoder batch, all in one of the head.

    As in SwAV (Caron et al. 2020).
    """
    pixels = [batch[name] for name in ("views", "crops") if name in batch]  # (B, V, h, w, C) each
    rows = [encoder(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in pixels]
    embeddings = torch.cat(rows, dim=1)  # (B, V, F)
    found: Tensor = head(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
    return found
