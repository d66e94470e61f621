"""Whitening: its check values, scikit-learn's PCA, and what happens where there is nothing to whiten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from selfsight.clusters import whitening
from selfsight.clusters.whitening import whitened
from selfsight.losses.precision import unit

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["deepcluster"]


def rows(count: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(count, width, generator=generator) @ torch.randn(width, width, generator=generator)
    return (mixed + 3).to(dtype)


def covariance(white: Tensor) -> Tensor:
    centred = white.double() - white.double().mean(dim=0)
    return centred.T @ centred / len(white)


def test_check_values() -> None:
    found = whitened(torch.tensor(CHECK["inputs"]["x"], dtype=torch.float64), CHECK["inputs"]["d"])
    expected = {name: torch.tensor(value, dtype=torch.float64) for name, value in CHECK["expected"].items()}
    torch.testing.assert_close(found.abs(), expected["whitened_abs"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(covariance(found), expected["cov_biased"], rtol=0, atol=1e-12)
    torch.testing.assert_close(unit(found).abs(), expected["abs_after_l2"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("components", [3, 8, 20])
def test_scikit_learn_finds_the_same_axes(components: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points, kept = rows(100, 8), min(components, 8)
    oracle = PCA(kept, whiten=True, svd_solver="full").fit_transform(points.numpy()) * (100 / 99) ** 0.5
    for chunk in (4096, 33):
        monkeypatch.setattr(whitening, "CHUNK", chunk)
        np.testing.assert_allclose(whitened(points, components).abs().numpy(), np.abs(oracle), atol=1e-9)


def test_float32_stays_float32_and_is_white() -> None:
    found = whitened(rows(500, 16, torch.float32), 16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(covariance(found), torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-4)


def test_directions_without_variance_become_zero() -> None:
    """Fewer points than directions, a column twice, rounding around one value, constant pictures."""
    few = whitened(rows(5, 16), 16)
    torch.testing.assert_close(covariance(few).diag(), torch.tensor([1.0] * 4 + [0.0] * 12).double())
    points = rows(50, 4)
    twice = whitened(torch.cat([points, points[:, :1]], dim=1), 5)
    assert twice[:, 4].abs().max() == 0
    noise = 1 + 1e-7 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    for same in (noise, torch.full((50, 6), 7.0), torch.zeros(50, 6)):
        assert torch.equal(whitened(same, 4), torch.zeros(50, 4))
