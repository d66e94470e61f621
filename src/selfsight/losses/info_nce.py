"""InfoNCE over a dictionary: each query picks its own key among stored negatives (He et al. 2020, eq. 1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

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
        logits = torch.cat([own, query @ negatives.T], dim=1) / temperature  # (B, 1 + K)
        return cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))
