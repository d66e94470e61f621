"""Convolutions over small maps as one product of matrices, where that is the quicker way to train on a CPU.

The library that torch calls there brings a layer's weights and their gradient into an order of its own at every step.
On the last maps of a small picture, two or three pixels wide, that takes longer than the arithmetic. Here the pixels
that an output sees lie in a row, and the weights stay as they lie in memory, channels last. Results differ by rounding.
Both are measured by `benchmarks/layers.py`. In eval mode, as in exports, the layers are torch's own. There is no second
derivative.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

__all__ = ["Convolution", "by_products"]

LEAST = 8  # channels of an input: pixels of fewer are too short to be put in rows one by one
BYTES = 6  # that one channel's outputs may take for each channel: of a wider map the rows are more work than they save


def by_products(network: nn.Module) -> nn.Module:
    """The network, whose plain convolutions may now be products. Parameters, their names and their values stay."""
    for layer in network.modules():
        if (
            type(layer) is nn.Conv2d
            and layer.groups == 1
            and layer.padding_mode == "zeros"
            and layer.in_channels >= LEAST
        ):
            layer.__class__ = Convolution
    return network


class Convolution(nn.Conv2d):
    """`nn.Conv2d`; training on a CPU it is a product of matrices where a map has few pixels for the layer's width."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        shape = None
        if self.training and x.device.type == "cpu" and x.dim() == 4 and not isinstance(self.padding, str):
            shape = Shape(x.shape, self.kernel_size, self.stride, self.padding, self.dilation)
        out: Tensor
        if shape is None or not 0 < shape.outputs * kind.itemsize <= BYTES * self.out_channels:
            out = super()._conv_forward(x, weight, bias)
            return out
        out = _Product.apply(x.to(kind), weight.to(kind), shape)
        return out if bias is None else out + bias.to(kind)[:, None, None]


class Shape(NamedTuple):
    """Of an input (B, C, H, W) and the convolution that goes over it."""

    given: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output."""
        sides = zip(self.given[2:], *self[1:], strict=True)
        height, width = ((side + 2 * by - apart * (taps - 1) - 1) // step + 1 for side, taps, step, by, apart in sides)
        return height, width

    @property
    def outputs(self) -> int:
        """How many pixels come out, of the whole batch."""
        height, width = self.size
        return self.given[0] * height * width

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each tap, and the rows and columns of the padded input that it sees."""
        high, wide = self.kernel
        for down, across in product(range(high), range(wide)):
            starts = (down * self.dilation[0], across * self.dilation[1])
            seen = zip(starts, self.size, self.stride, strict=True)
            rows, columns = (slice(start, start + (count - 1) * step + 1, step) for start, count, step in seen)
            yield down, across, rows, columns


class _Product(torch.autograd.Function):
    """(B, C, H, W) and (O, C, h, w) to (B, O, H', W')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        out = unfolded(x, shape) @ flat(weight).T  # (B H' W', O)
        return out.view(len(x), *shape.size, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, weight), shape = ctx.saved_tensors, ctx.shape
        slope = upstream[0].permute(0, 2, 3, 1).reshape(shape.outputs, -1)  # (B H' W', O)
        of_x = folded(slope @ flat(weight), shape) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, None, None
        of_weight = (slope.T @ unfolded(x, shape)).view(len(weight), *shape.kernel, -1).permute(0, 3, 1, 2)
        return of_x, of_weight, None


def flat(weight: Float[Tensor, "O C h w"]) -> Float[Tensor, "O hwC"]:
    """What each output channel asks of the pixels that it sees; a view where the channels lie last in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def unfolded(x: Float[Tensor, "B C H W"], shape: Shape) -> Float[Tensor, "BHW hwC"]:
    """The pixels that each output sees, one output a row."""
    (high, wide), padded = shape.padding, x.permute(0, 2, 3, 1)
    if high or wide:
        padded = pad(padded, (0, 0, wide, wide, high, high))
    seen = [padded[:, rows, columns] for _, _, rows, columns in shape.taps()]  # (B, H', W', C) each
    return torch.cat(seen, dim=3).flatten(0, 2)


def folded(rows: Float[Tensor, "BHW hwC"], shape: Shape) -> Float[Tensor, "B C H W"]:
    """Each pixel's sum over the outputs that have seen it, added up in single precision at least."""
    (count, channels, height, width), (high, wide) = shape.given, shape.padding
    each = rows.view(count, *shape.size, *shape.kernel, channels)
    kind = torch.promote_types(rows.dtype, torch.float32)
    padded = rows.new_zeros(count, height + 2 * high, width + 2 * wide, channels, dtype=kind)
    for down, across, lines, columns in shape.taps():
        padded[:, lines, columns] += each[:, :, :, down, across]
    return padded[:, high : high + height, wide : wide + width].to(rows.dtype).permute(0, 3, 1, 2)
