"""Which cluster each picture is in: state that a method keeps, and what shows whether clusters are worth anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from selfsight import distributed
from selfsight.errors import RecipeError

__all__ = ["MEMBERS", "Partition", "automatic", "nmi"]

MEMBERS = 20  # pictures in a cluster, on average, where the number of clusters is automatic; ours
UNASSIGNED = -1


class Partition(nn.Module):
    """`assignments` (H, N) of N pictures in H clusterings of K each; all of it is buffers, so a checkpoint holds it.

    Before the first clustering every picture is in cluster -1. `diagnosis` is what `terms` tells.
    """

    assignments: Int[Tensor, "H N"]
    diagnosis: Float[Tensor, "3"]

    def __init__(self, count: int, clusters: int, clusterings: int = 1) -> None:
        super().__init__()
        self.clusters = clusters
        self.register_buffer("assignments", torch.full((clusterings, count), UNASSIGNED))
        self.register_buffer("diagnosis", torch.zeros(3))

    def replace(self, found: Int[Tensor, "H N"]) -> None:
        """Take a new clustering, that of rank 0: another machine may round another way."""
        sizes = torch.stack([torch.bincount(one, minlength=self.clusters) for one in found.cpu()]).double()  # (H, K)
        agreement = [nmi(before, now) for before, now in zip(self.assignments, found, strict=True)]
        used, largest = (sizes > 0).sum(dim=1), sizes.amax(dim=1) / found.shape[1]
        means = torch.stack([torch.tensor(agreement), used, largest]).double().mean(dim=1)
        self.diagnosis.copy_(means.float())
        self.assignments.copy_(found)
        for buffer in (self.diagnosis, self.assignments):
            distributed.copy_first(buffer)

    def terms(self) -> dict[str, Tensor]:
        """NMI with the partition before (0 at first), clusters in use, share of the pictures in the largest one.

        Means over the clusterings. A healthy run's NMI rises towards 0.8; few clusters in use or a largest share near 1
        are the trivial solution.
        """
        return dict(zip(("nmi", "clusters", "largest"), self.diagnosis.unbind(), strict=True))


def automatic(published: int, count: int, settings: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """`count` and `clusters`, where not set, for so many training pictures, each with its reason.

    Clusters are as published or one for 20 pictures: with fewer a cluster is near to being one picture. RecipeError
    where they would outnumber the pictures.
    """
    if settings.get("count") not in (None, count):
        raise RecipeError(f"count is the number of training pictures, {count}; leave it out")
    most = max(2, min(published, count // MEMBERS))
    if (settings.get("clusters") or most) > count:
        raise RecipeError(
            f"{count} training pictures cannot fill {settings['clusters']} clusters; leave out clusters ({most} would "
            "be made), or add pictures"
        )
    reason = f"published: {published}" if most == published else f"{MEMBERS} of {count} pictures in each"
    found = {"clusters": (most, reason), "count": (count, "one assignment for each picture")}
    return {name: value for name, value in found.items() if settings.get(name) is None}


def nmi(first: Int[Tensor, "N"], second: Int[Tensor, "N"]) -> float:
    """Normalised mutual information of two partitions, 2 I / (H + H'), in [0, 1]; 1 when both are one cluster."""
    one, other, both = _entropy(first), _entropy(second), _entropy(first, second)
    return 1.0 if one + other == 0 else max(0.0, 2 * (one + other - both) / (one + other))


def _entropy(*labels: Int[Tensor, "N"]) -> float:
    """Of the labels' joint distribution, natural logarithm."""
    counts: Tensor = torch.unique(torch.stack(labels).cpu(), dim=1, return_counts=True)[1]
    share = counts.double() / counts.sum()
    return float(-(share * share.log()).sum())
