"""Hidden patches: one learned vector stands in their place, and something is told of each (Bao et al. 2022)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.init import trunc_normal_, zeros_

from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import at

__all__ = ["HiddenPatches", "hidden_places"]


class HiddenPatches(nn.Module):
    """(B, M, out) numbers for each of the at most M patches that are hidden from an encoder."""

    def __init__(self, encoder: Encoder, out: int) -> None:
        super().__init__()
        encoder.must_hide()
        self.token = nn.Parameter(trunc_normal_(torch.empty(encoder.maps), std=0.02))
        self.tell = nn.Linear(encoder.maps, out)
        trunc_normal_(self.tell.weight, std=0.02)
        zeros_(self.tell.bias)

    def forward(
        self, encoder: Encoder, views: Shaped[Tensor, "B h w C"], hidden: Int[Tensor, "B L"], most: int
    ) -> Float[Tensor, "B M Q"]:
        """Hide, encode, and tell; the places are those of `hidden_places`."""
        vectors = encoder.patches(views, hide=hidden.bool(), token=self.token)  # (B, L, D)
        told: Tensor = self.tell(at(vectors, hidden_places(hidden, most)[0]))
        return told


def hidden_places(hidden: Int[Tensor, "B L"], most: int) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """Where the hidden patches are, as many for each picture as there are at `most`, and which of these truly are."""
    places = hidden.argsort(dim=1, descending=True, stable=True)[:, :most]
    return places, hidden.gather(1, places).bool()
