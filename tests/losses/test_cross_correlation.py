"""Cross-correlation: check values, a slow twin, lightly, and what changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.losses.cross_correlation import cross_correlation

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["barlow_twins"]
EXPECTED, WEIGHT = CHECK["expected"], CHECK["inputs"]["lambda"]
FIRST, SECOND = (torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in ("z1", "z2"))


def loss(first: torch.Tensor, second: torch.Tensor, eps: float = 0.0) -> float:
    own, others = cross_correlation(first, second, eps=eps)
    return (own + WEIGHT * others).item()


def test_check_values() -> None:
    own, others = cross_correlation(FIRST, SECOND, eps=0.0)
    assert own.item() == pytest.approx(EXPECTED["on_diag"], rel=1e-9)
    assert others.item() == pytest.approx(EXPECTED["off_diag"], rel=1e-9)
    assert loss(FIRST, SECOND) == pytest.approx(EXPECTED["loss_eps0"], rel=1e-9)
    assert loss(FIRST, SECOND, 1e-5) == pytest.approx(EXPECTED["loss_eps1e-5"], rel=1e-9)
    own, others = (term.item() for term in cross_correlation(FIRST, FIRST, eps=0.0))
    itself = {"on_diag": own, "off_diag": others, "loss": loss(FIRST, FIRST)}
    assert itself == pytest.approx(EXPECTED["z1_vs_itself"], rel=1e-9, abs=1e-12)
    design = torch.tensor(CHECK["orthogonal_design"], dtype=torch.float64)
    assert loss(design, design) == pytest.approx(EXPECTED["orthogonal_design_z1_equals_z2"], abs=1e-12)


def test_scale_shift_and_order_of_views_change_nothing() -> None:
    stretched = SECOND * torch.tensor([2.0, 0.1, 7.0], dtype=torch.float64) + 3
    assert loss(FIRST, stretched) == pytest.approx(loss(FIRST, SECOND), rel=1e-9)
    assert loss(SECOND, FIRST) == pytest.approx(loss(FIRST, SECOND), rel=1e-9)


def test_a_dimension_that_stands_still_costs_one() -> None:
    first = FIRST.clone()
    first[:, 1] = 4.0
    own, others = cross_correlation(first, FIRST)
    assert own.item() == pytest.approx(1, abs=1e-6)
    assert torch.isfinite(others)


def test_slow_twin() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 9, 5))
    found = np.array([[np.corrcoef(one[:, i], other[:, j])[0, 1] for j in range(5)] for i in range(5)])
    own = sum((1 - found[i, i]) ** 2 for i in range(5))
    others = sum(found[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    terms = cross_correlation(torch.tensor(one), torch.tensor(other), eps=0.0)
    assert [term.item() for term in terms] == pytest.approx([own, others], rel=1e-10)


def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import BarlowTwinsLoss

    pair = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = BarlowTwinsLoss(lambda_param=WEIGHT)(*pair).item()
    assert loss(*pair, eps=1e-5) == pytest.approx(theirs, rel=1e-6)
