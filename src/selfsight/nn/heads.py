"""Projection and prediction heads: small perceptrons that differ in where they normalise and where they shift."""

# What the methods of the literature use (F = width of the encoder):
#
#     SimCLR, paper code    mlp([F, F, 128], norm=True, last="scale")
#     SimCLR, lightly       mlp([F, 512, 128], norm=True, last="norm")
#     SimCLR, solo-learn    mlp([F, 2048, 256], norm=False)
#     MoCo v1, v2           mlp([F, 128], norm=False), mlp([F, F, 128], norm=False)
#     MoCo v3, ResNet       mlp([F, 4096, 256], norm=True, last="whiten")
#     BYOL projector        mlp([F, 4096, 256], norm=True, bias=True, last_bias=False)
#     BYOL predictor        mlp([256, 4096, 256], norm=True, bias=True, last_bias=False)
#     SimSiam projector     mlp([F, F, F, 2048], norm=True, last="whiten")
#     SimSiam predictor     mlp([2048, 512, 2048], norm=True)
#     Barlow, VICReg, solo  mlp([F, 2048, 2048, 2048], norm=True, bias=True)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn
from torch.nn.init import trunc_normal_, zeros_

__all__ = ["Last", "mlp"]

Last = Literal["plain", "norm", "scale", "whiten"]
"""What follows the last linear layer: nothing, batch norm, batch norm without shift, batch norm without either."""


def mlp(
    widths: Sequence[int],
    *,
    norm: bool,
    last: Last = "plain",
    bias: bool | None = None,
    last_bias: bool | None = None,
    activation: type[nn.Module] = nn.ReLU,
    deviation: float | None = None,
) -> nn.Sequential:
    """A perceptron (B, widths[0]) -> (B, widths[-1]): hidden layers are linear, batch norm if `norm`, activation.

    `bias` and `last_bias` say whether the linear layers have one. By default those that batch norm follows have none:
    the norm subtracts it again, so it would never get a gradient. They start from torch's usual numbers, or biases from
    0 and weights from a normal distribution of this `deviation`.
    """
    *hidden, (width, out) = pairwise(widths)
    layers: list[nn.Module] = []
    for a, b in hidden:
        layers += [nn.Linear(a, b, bias=(not norm) if bias is None else bias)]
        layers += [nn.BatchNorm1d(b), activation()] if norm else [activation()]
    layers += [nn.Linear(width, out, bias=(last == "plain") if last_bias is None else last_bias)]
    for layer in layers:
        if deviation is not None and isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                zeros_(layer.bias)
    return nn.Sequential(*layers, *_ending(last, out))


def _ending(last: Last, width: int) -> list[nn.Module]:
    if last == "plain":
        return []
    norm = nn.BatchNorm1d(width, affine=last != "whiten")
    if last == "scale":
        norm.register_parameter("bias", None)
    return [norm]
