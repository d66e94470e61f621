"""Every anchor against every candidate without holding all their scores: a strip of anchors at a time.

A strip's scores give its share of the loss and, at once, of the gradient; then the next strip takes their place. So
memory is O(N x strip) where the whole matrix would be O(N x N), and no score is computed twice: the backward pass only
multiplies what is there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Cost", "total"]

TILE = 2**21  # scores held at once: 8 MiB of float32, which stay in the cache of most processors

Cost = Callable[[Float[Tensor, "R C"], slice], tuple[Float[Tensor, ""], Float[Tensor, "R C"]]]
"""(scores of the anchors `strip` with all candidates, strip) to their sum of losses and its slope by each score. It may
write to the scores."""


def total(cost: Cost, anchors: Float[Tensor, "A P"], pool: Float[Tensor, "C P"]) -> Float[Tensor, ""]:
    """The sum of `cost` over all strips of anchors, differentiable once; scores are inner products."""
    asked = tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in (anchors, pool))
    found: Tensor = _Total.apply(anchors, pool, cost, asked)
    return found


class _Total(torch.autograd.Function):
    """Forward leaves the gradient in `ctx`; backward scales it."""

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, pool: Tensor, cost: Cost, asked: tuple[bool, bool]) -> Tensor:
        both = zip((anchors, pool), asked, strict=True)
        gradients = [torch.zeros_like(tensor) if wanted else None for tensor, wanted in both]
        height = min(max(1, TILE // len(pool)), len(anchors))
        tile = anchors.new_empty(height, len(pool))
        starts = range(0, len(anchors), height)
        sums = anchors.new_empty(len(starts))  # small tensors kept one by one would tear the tiles' memory to pieces
        for number, start in enumerate(starts):
            strip = slice(start, min(start + height, len(anchors)))
            scores = torch.mm(anchors[strip], pool.T, out=tile[: strip.stop - start])
            loss, slope = cost(scores, strip)
            sums[number] = loss
            if gradients[0] is not None:
                torch.mm(slope, pool, out=gradients[0][strip])
            if gradients[1] is not None:
                gradients[1].addmm_(slope.T, anchors[strip])
        ctx.gradients = gradients
        return sums.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if gradient is None else gradient * upstream[0] for gradient in ctx.gradients]
        return *scaled, None, None
