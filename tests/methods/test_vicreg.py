"""VICReg: its recipes and heads, its three terms, and what they say of a collapse and of the least loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from method_parts import TinyEncoder, batch_of, counted, resolved

from selfsight.errors import RecipeError
from selfsight.losses.variance_covariance import covariance, variance
from selfsight.methods.vicreg import VICReg

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())
HEADS, EXPECTED = CHECKS["head_parameter_counts"]["expected"], CHECKS["vicreg"]["expected"]


def made(inner: int = 32, **settings: object) -> VICReg:
    torch.manual_seed(0)
    return VICReg(TinyEncoder(inner), **{"hidden": 32, "width": 16, "augmentation": "simclr", **settings})


def test_size_decides_the_recipe() -> None:
    assert resolved(VICReg, 32) == {"hidden": 2048, "width": 2048, "augmentation": "vicreg"}
    assert resolved(VICReg, 224) == {"hidden": 8192, "width": 8192, "augmentation": "vicreg"}
    assert [recipe.solarise for recipe in made(augmentation="vicreg").views(32).recipes] == [0.1, 0.1]
    assert [recipe.solarise for recipe in made(augmentation="vicreg").views(224).recipes] == [0.0, 0.2]
    assert VICReg.defaults(224).rate(2048)[0] == pytest.approx(1.6)
    with pytest.raises(RecipeError, match="not set"):
        made(width=None)


def test_the_head_has_no_bias_that_the_loss_does_not_see() -> None:
    count = HEADS["barlow/vicreg 512-2048-2048-2048 with bias, last with bias (solo)"]
    assert counted(made(512, hidden=2048, width=2048).projector) == count - 3 * 2048


@pytest.mark.parametrize(("halved", "name"), [(True, "official"), (False, "solo_learn")])
def test_terms_and_their_weights(halved: bool, name: str) -> None:
    inputs = CHECKS["vicreg"]["inputs"]
    rows = torch.stack([torch.tensor(inputs[view], dtype=torch.float64) for view in ("z1", "z2")], dim=1)
    terms = made(width=3, halve_variance=halved).loss({"views": rows}, {})
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(EXPECTED[name], rel=1e-9)


def test_loss_is_over_both_views() -> None:
    method, batch = made(invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0).eval(), batch_of(6)
    first, second = (method.projector(method.encoder(batch["views"][:, view])) for view in (0, 1))
    varied, together = ((term(first) + term(second)) for term in (variance, covariance))
    expected = 2 * (first - second).square().mean() + 1.5 * varied + 5 * together
    torch.testing.assert_close(method.loss(method.project(batch), batch)["loss"], expected)


@pytest.mark.parametrize("halved", [True, False])
def test_a_collapse_costs_what_chance_says_and_its_gradient_spreads_nothing(halved: bool) -> None:
    """At one vector for all the variance term has no slope: it must be seen, it does not repair itself."""
    method, same = made(halve_variance=halved), torch.ones(8, 2, 16, requires_grad=True)
    terms = method.loss({"views": same}, {})
    assert terms["loss"].item() == pytest.approx(method.chance(8))
    assert terms["variance"].item() == pytest.approx(0.99 if halved else 1.98)
    terms["loss"].backward()
    assert same.grad.abs().max() == 0


@pytest.mark.parametrize("width", [5, 16, 100])
def test_the_floor_is_the_loss_at_rest(width: int) -> None:
    method = made(width=width)
    rows = torch.randn(8, 1, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.02)
    for _ in range(600):
        loss = method.loss({"views": rows.expand(-1, 2, -1)}, {})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(method.floor(8), abs=0.3)
