"""Whether a step is finite, and which tensor is to blame: the first on the way from the pictures to the gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from selfsight import distributed
from selfsight.methods.base import Batch, Projections, Terms

__all__ = ["blamed", "finite"]


def finite(loss: Tensor, norm: Tensor, running: Sequence[Tensor]) -> bool:
    """Whether loss, gradient and running statistics are finite on every rank."""
    statistics = torch.nn.utils.get_total_norm([one for one in running if one.is_floating_point()])
    bad = ~(torch.isfinite(loss) & torch.isfinite(norm) & torch.isfinite(statistics))
    return not bool(distributed.largest(bad.float().reshape(1)))


def blamed(method: nn.Module, batch: Batch, projections: Projections, terms: Terms, statistic: str | None) -> str:
    """One phrase, the same on every rank: of several ranks' tensors the one that comes first on the way is named.

    A sample is named where it alone is at fault: past a batch norm every row of the batch is, and so is the running
    `statistic`, which is to blame where nothing else is.
    """
    last = f"the running statistic {statistic!r}" if statistic else "the gradient's norm"
    place, said = next(_on_the_way(method, batch, projections, terms), (9, last))
    if distributed.world() > 1 and place < 9:
        said += f" on rank {distributed.rank()}"
    return str(min(distributed.everyones((place, said)))[1])


def _on_the_way(method: nn.Module, batch: Batch, projections: Projections, terms: Terms) -> Iterator[tuple[int, str]]:
    weights = dict(method.named_parameters()) | dict(method.named_buffers())
    for place, (what, tensors) in enumerate({"the weights": weights, "the views": batch}.items()):
        for name, tensor in _spoiled(tensors):
            yield place, f"{what} {name!r}{_whose(tensor, batch) if tensors is batch else ''}"
    for name, tensor in _spoiled(projections):
        yield 2, f"what is compared, {name!r}{_whose(tensor, batch)}"
    for name, _ in _spoiled(terms):
        yield 3, f"the term {name!r}"
    slopes = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    share = {name: float((~torch.isfinite(slope)).float().mean()) for name, slope in _spoiled(slopes)}
    if share:
        worst = max(share, key=lambda name: share[name])
        yield 4, f"the gradient of {worst!r} ({len(share)} of {len(slopes)} tensors)"


def _spoiled(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            yield name, tensor


def _whose(tensor: Tensor, batch: Batch) -> str:
    """Which samples, where these are not all of them."""
    rows = ~torch.isfinite(tensor.detach()).flatten(1).all(dim=1)
    if len(rows) != len(batch["index"]) or bool(rows.all()):
        return ""
    return f" of sample {', '.join(str(index) for index in batch['index'][rows].tolist()[:4])}"
