"""Attention as plain products in bf16 on a CPU, where the backward pass of torch's fused one takes much longer.

`benchmarks/layers.py` measures both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

__all__ = ["PlainAttention", "plain_attention"]

LONGEST = 300  # tokens: the weights of all pairs are kept for the backward pass, and the gain shrinks


def plain_attention() -> AbstractContextManager[Any]:
    """`PlainAttention` under autocast to bf16 on a CPU; nowhere else is there anything to do."""
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return PlainAttention() if half else nullcontext()


class PlainAttention(TorchFunctionMode):
    """Within, torch's fused attention is plain products, for up to 300 tokens in bf16 on a CPU; the rest is torch's."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        more = kwargs or {}
        if func is scaled_dot_product_attention and alone([*args[3:], *more.values()]) and fits(*args[:2]):
            return attention(*args[:3])
        return func(*args, **more)


def alone(more: Iterable[Any]) -> bool:
    """Whether there is neither a mask nor dropout nor a scale."""
    return not any(isinstance(one, Tensor) or one for one in more)


def fits(query: Tensor, key: Tensor) -> bool:
    """Whether there are few tokens, in bf16 on a CPU."""
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    return query.device.type == "cpu" and kind == torch.bfloat16 and key.shape[-2] <= LONGEST


def attention(
    query: Float[Tensor, "*B N D"], key: Float[Tensor, "*B M D"], value: Float[Tensor, "*B M P"]
) -> Float[Tensor, "*B N P"]:
    """softmax(query key^T / sqrt(D)) value (Vaswani et al. 2017, eq. 1), the softmax in single precision."""
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (*B, N, M)
    attended: Tensor = weights.softmax(dim=-1, dtype=torch.float32).to(value.dtype) @ value
    return attended
