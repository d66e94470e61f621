"""Barlow Twins: its recipes and heads, the rate of biases, what chance and the least loss are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from method_parts import TinyEncoder, batch_of, counted, resolved

from selfsight.errors import RecipeError
from selfsight.losses.cross_correlation import cross_correlation
from selfsight.methods.barlow_twins import BarlowTwins

HEADS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["head_parameter_counts"]["expected"]
SETTINGS = {"layers": 2, "hidden": 32, "width": 16, "steady_rate": 1.0, "augmentation": "simclr"}


def made(inner: int = 32, **settings: object) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwins(TinyEncoder(inner), **{**SETTINGS, **settings})


def test_size_decides_the_recipe() -> None:
    small = {"layers": 2, "hidden": 2048, "width": 2048, "steady_rate": 1.0, "augmentation": "simclr"}
    large = {"layers": 3, "hidden": 8192, "width": 8192, "steady_rate": 0.024, "augmentation": "byol"}
    assert (resolved(BarlowTwins, 32), resolved(BarlowTwins, 224)) == (small, large)
    assert BarlowTwins.defaults(224).rate(2048)[0] == pytest.approx(1.6)
    for name in SETTINGS:
        with pytest.raises(RecipeError, match="automatic"):
            made(**{name: None})


def test_the_head_has_no_bias_that_a_norm_would_subtract() -> None:
    count = HEADS["barlow/vicreg 512-2048-2048-2048 with bias, last with bias (solo)"]
    assert counted(made(512, layers=3, hidden=2048, width=2048).projector) == count - 3 * 2048


def test_biases_and_gains_have_the_codes_rate() -> None:
    """0.2 for weights and 0.0048 for what has one axis, both at a batch of 256."""
    weights, steady = made(steady_rate=0.024).groups()
    assert (weights.lr, BarlowTwins.defaults(224).lr * steady.lr) == (1.0, pytest.approx(0.0048))
    assert {p.ndim for p in steady.parameters} == {1}
    assert {p.ndim for p in weights.parameters} == {2, 4}


def test_loss_is_over_both_views() -> None:
    method, batch = made().eval(), batch_of(6)
    rows = [method.projector(method.encoder(batch["views"][:, view])) for view in (0, 1)]
    own, others = cross_correlation(*rows)
    terms = method.loss(method.project(batch), batch)
    torch.testing.assert_close(terms["loss"], own + 0.0051 * others)
    torch.testing.assert_close(terms["own"], own)
    torch.testing.assert_close(terms["others"], others)


def test_chance_is_the_loss_of_one_vector_for_all() -> None:
    same = torch.ones(8, 2, 16)
    assert made().loss({"views": same}, {})["loss"].item() == pytest.approx(made().chance(8))


@pytest.mark.parametrize("width", [5, 16, 400])
def test_no_loss_is_below_the_floor(width: int) -> None:
    """Gradient descent on the projections themselves comes near it where they are no wider than the batch tells."""
    method = made(width=width, redundancy=0.1)
    rows = torch.randn(8, 2, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.05)
    for _ in range(500):
        loss = method.loss({"views": rows}, {})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert method.floor(8) - 1e-3 <= loss.item() <= method.floor(8) + 0.3 * (method.chance(8) - method.floor(8))
