"""SIGReg and the spread about the centre: check values, closed forms, a slow twin by numerical integration, lightly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.losses.precision import unit
from selfsight.losses.sigreg import sigreg
from selfsight.losses.spread import spread

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["sigreg_lejepa"]
INPUTS, EXPECTED, CLOSED = CHECK["inputs"], CHECK["expected"], CHECK["closed_forms"]


def tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_check_values() -> None:
    rows, directions = tensor(INPUTS["x_NxD"]), tensor(INPUTS["directions_DxM_unit"])
    each = [sigreg(rows, directions[:, n : n + 1]).item() for n in range(directions.shape[1])]
    assert each == pytest.approx(EXPECTED["per_direction"], rel=1e-9)
    assert sigreg(rows, directions).item() == pytest.approx(EXPECTED["sigreg"], rel=1e-9)
    both = torch.stack([rows, -2 * rows])
    alone = [sigreg(one, directions).item() for one in both]
    assert sigreg(both, directions).item() == pytest.approx(np.mean(alone), rel=1e-9), "a mean over views"


def test_check_values_of_the_centre() -> None:
    views = tensor(INPUTS["views_VxNxD"]).transpose(0, 1)
    assert spread(views, views.shape[1]).item() == pytest.approx(EXPECTED["invariance"], rel=1e-9)
    both = CHECK["global_local_invariance"]
    views = torch.cat([tensor(both["globals_VgxNxD"]), tensor(both["locals_VlxNxD"])]).transpose(0, 1)
    assert spread(views, 2).item() == pytest.approx(both["inv_to_global_centre"], rel=1e-9)
    assert spread(views, 3).item() == pytest.approx(both["inv_to_all_view_mean"], rel=1e-9)


def test_closed_forms() -> None:
    directions = unit(torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).T
    collapsed = sigreg(torch.zeros(12, 8, dtype=torch.float64), directions).item() / 12
    assert collapsed == pytest.approx(CLOSED["collapse to zero, statistic/N"], rel=1e-9)
    rows = torch.randn(500, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = sigreg(rows, directions).item()
    assert found == pytest.approx(CLOSED["expected statistic for exact N(0,1) samples (any N)"], rel=0.03)


def test_slow_twin() -> None:
    """Complex exponentials on the whole of [-3, 3], row by row."""
    rows, along = np.random.default_rng(0).normal(size=(7, 3)), np.array([0.6, 0.0, 0.8])
    knots = np.linspace(-3, 3, 33)
    values = [abs(np.mean([np.exp(1j * t * row @ along) for row in rows]) - np.exp(-t * t / 2)) ** 2 for t in knots]
    expected = 7 * np.trapezoid(np.array(values) * np.exp(-(knots**2) / 2), knots)
    assert sigreg(tensor(rows.tolist()), tensor(along.tolist())[:, None]).item() == pytest.approx(expected, rel=1e-10)


def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import SIGReg

    rows, seen = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), []
    randn = torch.randn

    def drawn(*asked: object, **options: object) -> torch.Tensor:
        seen.append(randn(*asked, **options))
        return seen[-1]

    monkeypatch.setattr(torch, "randn", drawn)
    theirs = SIGReg()(rows)
    torch.testing.assert_close(sigreg(rows, unit(seen[0].T).T), theirs.squeeze(), rtol=1e-5, atol=1e-6)
