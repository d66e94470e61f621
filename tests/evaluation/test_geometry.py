"""Label-free numbers: check values and closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from selfsight.evaluation import geometry

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())


def test_rankme_check_values(monkeypatch: pytest.MonkeyPatch) -> None:
    check = CHECKS["rankme"]
    rows, expected = np.array(check["inputs"]["Z"]), check["expected"]
    assert geometry.rankme(rows) == pytest.approx(expected["rankme"], abs=1e-10)
    assert geometry.rankme(rows - rows.mean(axis=0)) == pytest.approx(expected["centred"], abs=1e-10)
    monkeypatch.setattr(geometry, "EPSILON", 0.0)
    assert geometry.rankme(rows) == pytest.approx(expected["rankme_eps0"], abs=1e-10)
    other = expected["on_covariance_eigenvalues (different quantity)"]
    assert geometry.rankme(np.cov(rows.T)) == pytest.approx(other, abs=1e-10)


def test_rankme_closed_forms() -> None:
    assert geometry.rankme(3 * np.eye(4)) == pytest.approx(4, abs=1e-5)
    assert geometry.rankme(np.outer(np.arange(1.0, 6), np.arange(1.0, 4))) == pytest.approx(1, abs=1e-5)
    assert geometry.rankme(np.zeros((5, 3))) == 1


def test_alignment_and_uniformity_check_values() -> None:
    check = CHECKS["align_uniform"]
    x, y = np.array(check["inputs"]["x"]), np.array(check["inputs"]["y"])
    assert geometry.alignment(x, y) == pytest.approx(check["expected"]["align"], abs=1e-12)
    assert geometry.uniformity(x) == pytest.approx(check["expected"]["uniform_x"], abs=1e-12)
    closed = check["closed_forms"]
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert geometry.uniformity(opposite) == pytest.approx(closed["two antipodal points: uniform"])
    assert geometry.uniformity(np.ones((4, 3))) == pytest.approx(closed["all identical: uniform"], abs=1e-12)
    assert (geometry.alignment(x, y) == pytest.approx(2 - 2 * (x * y).sum(axis=1).mean())) == closed["align = 2-2cos"]


def test_diagnostics_check_values() -> None:
    check = CHECKS["diagnostics"]
    rows = np.array(check["inputs"]["features"])
    assert geometry.feature_std(rows) == pytest.approx(check["expected"]["std_times_sqrt_d_population"], abs=1e-12)
    assert geometry.mean_cosine(rows) == pytest.approx(check["expected"]["mean_offdiag_cosine"], abs=1e-12)


def test_isotropic_and_collapsed() -> None:
    spread = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    assert geometry.feature_std(spread) == pytest.approx(1, abs=0.01)
    assert geometry.feature_std(np.ones((10, 4), np.float32)) == pytest.approx(0, abs=1e-6)
    assert geometry.mean_cosine(np.ones((10, 4), np.float32)) == pytest.approx(1)


def test_label_free_uses_a_fixed_subset() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    measured = geometry.label_free(rows)
    assert (measured["rows"], measured["width"]) == (2048, 8)
    told = {"rows", "width", "rankme", "participation", "intrinsic_dimension", "uniformity", "mean_cos", "std"}
    assert set(measured) == told, "8 dimensions are too few for a power law"
    assert set(geometry.label_free(rows.reshape(-1, 40))) == told | {"alpha_req"}
    assert set(geometry.label_free(rows[:1])) == {"rows", "width", "rankme"}


def test_views_say_lidar_where_they_are_more_than_the_dimensions() -> None:
    first = np.random.default_rng(0).normal(size=(80, 8))
    second = first + np.random.default_rng(1).normal(size=(80, 8)) / 10
    found = geometry.of_views(first, second)
    assert 6 < found["lidar"] <= 8
    assert found["alignment"] == geometry.alignment(first, second)
    assert set(geometry.of_views(first[:11], second[:11])) == {"alignment"}
