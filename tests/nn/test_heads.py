"""Heads of the literature: their parameter counts, and where they normalise and shift."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from selfsight.nn.heads import mlp

COUNTS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["head_parameter_counts"]["expected"]

HEADS = {
    "simclr_solo_cifar 512-2048-256 no BN": mlp([512, 2048, 256], norm=False),
    "simclr_lightly 512-512-128 BN both layers, no linear bias": mlp([512, 512, 128], norm=True, last="norm"),
    "mocov2 512-512-128 no BN": mlp([512, 512, 128], norm=False),
    "byol_official projector 512-4096-256": mlp([512, 4096, 256], norm=True, bias=True, last_bias=False),
    "byol_official predictor 256-4096-256": mlp([256, 4096, 256], norm=True, bias=True, last_bias=False),
    "simsiam projector 512-2048-2048-2048 (trainable)": mlp([512, 2048, 2048, 2048], norm=True, last="whiten"),
    "simsiam predictor 2048-512-2048": mlp([2048, 512, 2048], norm=True),
    "barlow/vicreg 512-2048-2048-2048 with bias, last with bias (solo)": mlp(
        [512, 2048, 2048, 2048], norm=True, bias=True
    ),
    "supcon mlp 512-512-128": mlp([512, 512, 128], norm=False),
    "supcon linear 2048-128": mlp([2048, 128], norm=False),
    "mocov3 resnet projector 512-4096-256 (no bias, last BN not affine)": mlp(
        [512, 4096, 256], norm=True, last="whiten"
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_parameter_counts(name: str) -> None:
    assert sum(p.numel() for p in HEADS[name].parameters()) == COUNTS[name]


def test_a_head_may_start_from_a_normal_distribution() -> None:
    head = mlp([512, 2048, 256], norm=True, bias=True, deviation=0.02)
    for layer in (head[0], head[-1]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.01)
        assert not layer.bias.any()


def test_simclr_paper_head_scales_but_does_not_shift_at_its_end() -> None:
    head = mlp([6, 6, 4], norm=True, last="scale")
    assert sum(p.numel() for p in head.parameters()) == 6 * 6 + 2 * 6 + 6 * 4 + 4
    out = head(torch.randn(32, 6, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(4), atol=1e-6, rtol=0)
    assert head.eval()(torch.zeros(2, 6)).shape == (2, 4)


def test_every_parameter_gets_a_gradient() -> None:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    for head in (mlp([6, 6, 4], norm=True, last="scale"), mlp([6, 6, 4], norm=True), mlp([6, 6, 4], norm=False)):
        (head(x) ** 3).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 1e-4 for p in head.parameters())


def test_hidden_layers_have_the_activation_and_the_last_has_none() -> None:
    kinds = [type(layer) for layer in mlp([4, 5, 6, 7], norm=True, activation=nn.GELU)]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.GELU]
    assert kinds == [*hidden, *hidden, nn.Linear]
