"""Cosines across views: check values of both losses made of it, a slow twin, and lightly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.cross_view import cross_view_cosine
from selfsight.losses.precision import unit

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())


def both(inputs: dict[str, list[list[float]]], *names: str) -> Tensor:
    return unit(torch.stack([torch.tensor(inputs[name], dtype=torch.float64) for name in names], dim=1))


def test_check_values() -> None:
    byol, simsiam = CHECKS["byol"], CHECKS["simsiam"]
    cosine = cross_view_cosine(both(byol["inputs"], "p1", "p2"), both(byol["inputs"], "target_z1", "target_z2"))
    assert (4 - 4 * cosine).item() == pytest.approx(byol["expected"]["loss_sum"], rel=1e-9)
    assert -cosine.item() == pytest.approx(byol["expected"]["mean_negative_cosine_form"], rel=1e-9)
    cosine = cross_view_cosine(both(simsiam["inputs"], "p1", "p2"), both(simsiam["inputs"], "z1", "z2"))
    assert -cosine.item() == pytest.approx(simsiam["expected"]["loss"], rel=1e-9)


def slow_twin(predictions: np.ndarray, targets: np.ndarray) -> float:
    """The paper's sum of squared distances, one direction and picture after another."""
    total = 0.0
    for view in (0, 1):
        for p, z in zip(predictions[:, view], targets[:, 1 - view], strict=True):
            p, z = (v / np.sqrt(sum(x * x for x in v)) for v in (p, z))
            total += sum((a - b) ** 2 for a, b in zip(p, z, strict=True)) / len(predictions)
    return total


def test_slow_twin() -> None:
    p, z = np.random.default_rng(0).normal(size=(2, 7, 2, 5))
    cosine = cross_view_cosine(unit(torch.tensor(p)), unit(torch.tensor(z)))
    assert (4 - 4 * cosine).item() == pytest.approx(slow_twin(p, z), rel=1e-12)


def test_ends() -> None:
    rows = unit(torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0)))
    assert cross_view_cosine(rows, rows.flip(1)).item() == pytest.approx(1)
    assert cross_view_cosine(rows, -rows.flip(1)).item() == pytest.approx(-1)


def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import NegativeCosineSimilarity

    p, z = torch.randn(2, 16, 2, 8, generator=torch.Generator().manual_seed(0))
    criterion = NegativeCosineSimilarity()
    theirs = (criterion(p[:, 0], z[:, 1]) + criterion(p[:, 1], z[:, 0])) / 2
    torch.testing.assert_close(-cross_view_cosine(unit(p), unit(z)), theirs)
