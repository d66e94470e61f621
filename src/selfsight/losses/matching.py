"""Matching: each row finds the candidate of its own number among those of the batch (InfoNCE without a queue)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.losses import tiles
from selfsight.losses.precision import full, no_autocast

__all__ = ["matching"]


def matching(
    rows: Float[Tensor, "B P"], candidates: Float[Tensor, "N P"], *, temperature: float, offset: int = 0
) -> Float[Tensor, ""]:
    """Cross-entropy of picking candidate `offset + b` for row b, mean over the rows. All are unit vectors.

    `candidates` may be those of all ranks; then the mean of the ranks' losses is that of the whole batch on one rank.
    """
    with no_autocast(rows):
        own = offset + torch.arange(len(rows), device=rows.device)

        def cost(logits: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
            at = torch.arange(len(logits), device=logits.device)
            logs = logits.log_softmax(dim=1)  # (R, N)
            loss = -logs[at, own[strip]].sum()
            slope = logs.exp_()
            slope[at, own[strip]] -= 1
            return loss, slope

        return tiles.total(cost, full(rows) / temperature, full(candidates)) / len(rows)
