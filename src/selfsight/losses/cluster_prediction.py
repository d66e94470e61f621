"""Predict a picture's cluster: from logits (Caron et al. 2018), or by cosine to prototypes (DeepCluster-v2)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from selfsight.losses.precision import full, no_autocast

__all__ = ["cluster_prediction", "prototype_prediction"]

UNASSIGNED = -1


def cluster_prediction(logits: Float[Tensor, "*B K"], clusters: Int[Tensor, "*B"]) -> Float[Tensor, ""]:
    """Cross-entropy, mean over the rows that have a cluster; those of cluster -1 are left out, 0 when all are."""
    with no_autocast(logits):
        targets = clusters.flatten()
        total = cross_entropy(full(logits).flatten(0, -2), targets, ignore_index=UNASSIGNED, reduction="sum")
        return total / (targets != UNASSIGNED).sum().clamp(min=1)


def prototype_prediction(
    views: Float[Tensor, "B V P"],
    prototypes: Float[Tensor, "H K P"],
    clusters: Int[Tensor, "H B"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Mean over pictures, their V views and H clusterings, of picking the cluster's prototype among K by its cosine.

    Rows of views and prototypes are unit vectors. Clusters as in `cluster_prediction`.
    """
    with no_autocast(views):
        logits = full(views) @ full(prototypes)[:, None].mT / temperature  # (H, B, V, K)
        return cluster_prediction(logits, clusters[:, :, None].expand(logits.shape[:-1]))
