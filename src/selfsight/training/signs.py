"""What the guard looks at, as plain numbers: none of it knows a method, and none of it changes anything.

A new method is watched for free: a teacher is what `frozen_copy` made and stays in train mode (`Still` and tokenizers
are in eval mode: they are meant to stand), a queue a `Queue`, a memory a `Memory`, clusters a `Partition`, codes any
projection of integers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.clusters.partition import Partition
from selfsight.evaluation import geometry
from selfsight.methods.base import Method, Projections
from selfsight.nn.memory import Memory
from selfsight.nn.queue import Queue

__all__ = ["Watched", "of_clusters", "of_embeddings", "of_projections"]

STILL = 1e-6  # of the largest spread of a dimension: one that varies less says nothing


class Watched:
    """Copies, taken before the optimizer's step, of what should have moved after `on_step_end`."""

    def __init__(self, method: Method) -> None:
        self.parts = {name: (part, [tensor.clone() for tensor in part]) for name, part in _moving(method)}

    def moved(self) -> dict[str, float]:
        """`moved` of the encoder, `teacher.<path>`, `queue.<path>`: the change's length over that of what was there.

        It is 0 where not one bit changed.
        """
        found = {}
        for name, (now, before) in self.parts.items():
            pairs = ((a.cpu().double(), b.cpu().double()) for a, b in zip(now, before, strict=True))  # Metal has none
            change = sum(float((a - b).square().sum()) for a, b in pairs)
            length = sum(float(b.cpu().double().square().sum()) for b in before)
            found[name] = (change / max(length, 1e-30)) ** 0.5
        return found


def _moving(method: Method) -> Iterator[tuple[str, list[Tensor]]]:
    yield "moved", [p.detach() for p in method.encoder.parameters() if p.requires_grad]
    followers: list[str] = []
    for name, module in method.named_modules():
        if not name or name.split(".")[0] == "encoder" or any(name.startswith(f"{one}.") for one in followers):
            continue
        if isinstance(module, Queue | Memory):
            yield f"queue.{name}", [module.keys if isinstance(module, Queue) else module.rows]
        elif module.training and (own := list(module.parameters())) and not any(p.requires_grad for p in own):
            followers.append(name)
            yield f"teacher.{name}", own


def of_projections(projections: Projections) -> dict[str, float]:
    """`head.<name>`: the spread over the batch of what the loss compares; `codes.<name>`: how many codes are in it.

    The spread is of each picture's numbers as one unit vector (`geometry.feature_std`), and 0 where all are 0.
    """
    found = {}
    for name, tensor in projections.items():
        rows = tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]
        if not tensor.is_floating_point():
            found[f"codes.{name}"] = float(len(torch.unique(tensor)))
        elif len(rows) > 1 and rows.shape[1] > 1:
            found[f"head.{name}"] = geometry.feature_std(rows.float().cpu().numpy())
    return found


def of_clusters(method: Method) -> dict[str, float]:
    """`clusters`: how many there are, on average over clusterings, `clusters_used`: how many have a picture.

    `largest` is the share of the pictures that is in the largest, `perplexity` how many clusters of equal size would be
    as even. Nothing where nothing is clustered yet.
    """
    found: dict[str, float] = {}
    for part in method.modules():
        if isinstance(part, Partition) and bool((part.assignments >= 0).all()):
            every = [torch.bincount(one, minlength=part.clusters) for one in part.assignments.cpu()]
            sizes = torch.stack(every).double()  # (H, K)
            used, largest = (sizes > 0).sum(dim=1).double().mean(), sizes.amax(dim=1).mean()
            found = {"clusters": float(part.clusters), "clusters_used": float(used)}
            found["largest"] = float(largest) / part.assignments.shape[1]
            shares = sizes / part.assignments.shape[1]
            found["perplexity"] = float(torch.special.entr(shares).sum(dim=1).exp().mean())
    return found


def of_embeddings(features: Float[np.ndarray, "N D"]) -> dict[str, float]:
    """`size`: root mean square, `std`: see `geometry.feature_std`, `directions`: effective rank about the mean.

    `still`: the share of the dimensions that are the same for all `pictures`, of which there are so many. Of numbers
    that are not finite only `finite`, 0.
    """
    rows = features.astype(np.float64)
    if not np.isfinite(rows).all():
        return {"finite": 0.0}
    centred = rows - rows.mean(axis=0)
    spread = rows.std(axis=0)
    return {
        "pictures": float(len(rows)),
        "size": float(np.sqrt((rows**2).mean())),
        "std": geometry.feature_std(rows),
        "directions": geometry.rankme(centred),
        "still": float((spread <= STILL * max(spread.max(), np.finfo(np.float32).tiny)).mean()),
    }
