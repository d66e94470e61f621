"""InfoNCE over a dictionary: each query picks its own key among stored negatives (He et al. 2020, eq. 1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from selfsight.losses import tiles
from selfsight.losses.precision import full, no_autocast

__all__ = ["info_nce"]


def info_nce(
    query: Float[Tensor, "B P"], key: Float[Tensor, "B P"], negatives: Float[Tensor, "K P"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of picking a query's own key among 1 + K, mean over the queries. Rows are unit vectors.

    Every rank holds the same negatives, so the mean of the ranks' losses is the loss of the whole batch as it stands.
    """
    with no_autocast(query):
        query, key, negatives = full(query), full(key), full(negatives)
        own = (query * key).sum(dim=-1, keepdim=True)  # (B, 1)
        anchors = torch.cat([query, own], dim=1) / temperature  # the own key's score rides along as one more number,
        pool = pad(pad(negatives, (0, 1)), (0, 0, 1, 0))  # (1 + K, P + 1) which candidate 0 alone picks up
        pool[0, -1] = 1.0
        return tiles.total(_cost, anchors, pool) / len(query)


def _cost(logits: Float[Tensor, "R C"], strip: slice) -> tuple[Float[Tensor, ""], Float[Tensor, "R C"]]:
    logs = logits.log_softmax(dim=1)
    loss = -logs[:, 0].sum()
    slope = logs.exp_()
    slope[:, 0] -= 1
    return loss, slope
