"""Variance and covariance: check values of the whole loss, a slow twin, lightly, closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from selfsight.losses.variance_covariance import covariance, variance

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["vicreg"]


def terms(first: Tensor, second: Tensor) -> dict[str, float]:
    """As in the official code."""
    varied, together = (sum(term(rows) for rows in (first, second)).item() for term in (variance, covariance))
    return {"invariance": mse_loss(first, second).item(), "variance": varied / 2, "covariance": together}


def loss(found: dict[str, float]) -> float:
    return 25 * found["invariance"] + 25 * found["variance"] + found["covariance"]


def test_check_values() -> None:
    found = terms(*(torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in ("z1", "z2")))
    assert {**found, "loss": loss(found)} == pytest.approx(CHECK["expected"]["official"], rel=1e-9)
    found["variance"] *= 2
    assert {**found, "loss": loss(found)} == pytest.approx(CHECK["expected"]["solo_learn"], rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_collapse(value: float) -> None:
    rows, closed = torch.full((6, 5), value, dtype=torch.float64), CHECK["closed_form"]
    assert variance(rows).item() == pytest.approx(closed["constant output (collapse): variance term"])
    assert loss(terms(rows, rows)) == pytest.approx(closed["official loss at collapse"])


def test_slow_twin() -> None:
    rows = 0.5 * np.random.default_rng(0).normal(size=(8, 5))
    deviations = [np.sqrt(sum((x - c.mean()) ** 2 for x in c) / 7 + 1e-4) for c in rows.T]
    found = np.cov(rows.T)
    together = sum(found[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5
    assert variance(torch.tensor(rows)).item() == pytest.approx(np.mean([max(0, 1 - d) for d in deviations]), rel=1e-12)
    assert covariance(torch.tensor(rows)).item() == pytest.approx(together, rel=1e-12)


def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import VICRegLoss

    pair = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert loss(terms(*pair)) == pytest.approx(VICRegLoss()(*pair).item(), rel=1e-9)
