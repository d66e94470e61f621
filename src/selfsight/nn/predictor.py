"""A narrow transformer that tells from some patches what is at others: MAE's decoder, I-JEPA's predictor."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.nn.init import normal_, xavier_uniform_, zeros_

from selfsight.errors import RecipeError
from selfsight.nn.positions import waves

__all__ = ["Predictor"]


class Layer(nn.TransformerEncoderLayer):
    """Torch's without masks and dropout, whose attention is a call that `nn.attention` sees."""

    def _sa_block(self, x: Tensor, *masks: Any, **causal: Any) -> Tensor:
        own = self.self_attn
        parts = linear(x, own.in_proj_weight, own.in_proj_bias).reshape(*x.shape[:2], 3, own.num_heads, -1)
        seen = scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))  # (B, heads, K + M, width / heads)
        out: Tensor = own.out_proj(seen.transpose(1, 2).flatten(2))
        return out


class Predictor(nn.Module):
    """(B, K, D) vectors of patches, where they are, and M places asked for -> (B, M, out).

    One learned vector stands at each asked place; all know where they are. Norms come before layers.
    """

    places: Float[Tensor, "L W"]

    def __init__(self, inside: int, out: int, grid: tuple[int, int], *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise RecipeError(f"{width} cannot be shared out to {heads} heads and four kinds of waves; use multiples")
        self.enter = nn.Linear(inside, width)
        self.token = nn.Parameter(normal_(torch.empty(width), std=0.02))
        self.register_buffer("places", waves(grid, width))
        layer = partial(Layer, width, heads, 4 * width, dropout=0.0, activation="gelu")
        self.layers = nn.Sequential(*(layer(batch_first=True, norm_first=True) for _ in range(depth)))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, out)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                xavier_uniform_(module.weight)
                zeros_(module.bias)

    def forward(
        self, vectors: Float[Tensor, "B K D"], where: Int[Tensor, "B K"], asked: Int[Tensor, "B M"]
    ) -> Float[Tensor, "B M Q"]:
        """Enter, join the asked places, look around, leave with what is at these."""
        known = self.enter(vectors) + self.places[where]
        tokens = torch.cat([known, self.token + self.places[asked]], dim=1)
        told: Tensor = self.leave(self.norm(self.layers(tokens)[:, where.shape[1] :]))
        return told
