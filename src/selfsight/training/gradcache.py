"""The gradient of one batch, whole or in micro-batches: the loss always sees the whole batch.

When the batch does not fit: project every micro-batch without graph, take the loss once and its gradient at the
projections, then project each micro-batch again and send its slice of that gradient back (Gao et al. 2021, GradCache).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from selfsight.methods.base import Batch, Method, Projections, Terms
from selfsight.nn.attention import plain_attention

Project = Callable[[Batch], Projections]
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def gradient(
    method: Method,
    project: Project,
    batch: Batch,
    micro: int,
    *,
    key: int,
    backward: Callable[[Tensor], None],
    quiet: Callable[[bool], AbstractContextManager[object]] = lambda last: nullcontext(),
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Terms, Projections]:
    """Leave the gradient of `method.loss` in the parameters; return terms and projections, both detached.

    `key` seeds dropout, so that a replay draws the same, and whatever a target draws. `quiet(last)` holds back a rank's
    gradient exchange until the last micro-batch. Projections and targets are computed under `autocast`, the loss is in
    float32.
    """

    def projected(part: Batch) -> Projections:
        with autocast(), plain_attention():
            return float32(project(part))

    parts = list(split(batch, micro))
    with autocast(), plain_attention():
        targets = float32(without_gradient(method.targets, parts, key))
    if len(parts) == 1:
        torch.manual_seed(key)
        projections = projected(batch)
        terms = method.loss({**projections, **targets}, batch)
        backward(terms["loss"])
        return detached(terms), detached({**projections, **targets})
    with running_statistics_kept(method):
        first = without_gradient(projected, parts, key)
    leaves = {name: tensor.requires_grad_(tensor.is_floating_point()) for name, tensor in first.items()}
    terms = method.loss({**leaves, **targets}, batch)
    asked = {name: tensor for name, tensor in leaves.items() if tensor.requires_grad}
    found = torch.autograd.grad(terms["loss"], list(asked.values()), allow_unused=True)
    slopes = {name: slope for name, slope in zip(asked, found, strict=True) if slope is not None}
    for i, (part, share) in enumerate(zip(parts, split(slopes, micro), strict=True)):
        with quiet(i == len(parts) - 1):
            again = seeded(projected, key + i, part)
            backward(sum_of((again[name] * slope).sum() for name, slope in share.items()))
    return detached(terms), detached({**leaves, **targets})


def float32(projections: Projections) -> Projections:
    """Losses are computed in float32 whatever the network ran in."""
    return {name: value.float() if value.is_floating_point() else value for name, value in projections.items()}


def split(named: Mapping[str, Tensor], size: int) -> Iterator[dict[str, Tensor]]:
    """Consecutive slices of `size` rows of every tensor."""
    rows = len(next(iter(named.values())))
    for start in range(0, rows, size):
        yield {name: tensor[start : start + size] for name, tensor in named.items()}


def merge(parts: list[Projections]) -> Projections:
    """The slices put together again."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if len(parts) > 1 else parts[0]


def seeded(project: Project, key: int, part: Batch) -> Projections:
    """Project with dropout keyed by `key`."""
    torch.manual_seed(key)
    return project(part)


def without_gradient(project: Project, parts: list[Batch], key: int) -> Projections:
    """Project all parts without graph, each with dropout of its own."""
    with torch.no_grad():
        return merge([seeded(project, key + i, part) for i, part in enumerate(parts)])


def detached(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers without a graph."""
    return {name: tensor.detach() for name, tensor in named.items()}


def sum_of(parts: Iterator[Tensor]) -> Tensor:
    """A sum that starts from its first summand."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def running_statistics(module: nn.Module) -> list[Tensor]:
    """What a forward pass in train mode may move: running means, variances and their counts."""
    return [buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] in RUNNING]


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Put the running statistics back afterwards."""
    buffers = running_statistics(module)
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        put_back(buffers, saved)


def put_back(buffers: Sequence[Tensor], saved: Sequence[Tensor]) -> None:
    """Give buffers the values that were saved of them; nothing where none were."""
    if saved:
        torch._foreach_copy_(list(buffers), list(saved))
