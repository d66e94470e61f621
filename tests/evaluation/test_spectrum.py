"""Measures of the spectrum: check values and invariants."""

import json
from pathlib import Path

import numpy as np
import pytest

from selfsight.evaluation import spectrum

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())


def scatter(views: np.ndarray) -> np.ndarray:
    """The slow twin: eigenvalues of Sw^-1/2 Sb Sw^-1/2 as it is written, rising."""
    count, drawn, width = views.shape
    means = views.mean(axis=1)
    between = np.cov(means.T)
    apart = sum(np.outer(e - m, e - m) for own, m in zip(views, means, strict=True) for e in own)
    values, vectors = np.linalg.eigh(apart / (count * (drawn - 1)) + spectrum.DELTA * np.eye(width))
    root = vectors / np.sqrt(values) @ vectors.T
    return np.linalg.eigvalsh(root @ between @ root)


def test_lidar_check_values() -> None:
    check = CHECKS["lidar"]
    views = np.array(check["inputs"]["E_n_q_d"])
    assert spectrum.lidar(views) == pytest.approx(check["expected"]["lidar"], abs=1e-12)
    assert scatter(views) == pytest.approx(check["expected"]["eigenvalues"], abs=1e-12)


def test_lidar_does_not_change_under_an_invertible_map() -> None:
    views = np.array(CHECKS["lidar"]["inputs"]["E_n_q_d"])
    mapped = views @ np.random.default_rng(0).normal(size=(3, 3)) + 5
    assert spectrum.lidar(mapped, delta=0.0) == pytest.approx(spectrum.lidar(views, delta=0.0), rel=1e-8)


def test_lidar_against_the_symmetric_root() -> None:
    views = np.random.default_rng(0).normal(size=(40, 3, 6)) + np.random.default_rng(1).normal(size=(40, 1, 6))
    found = scatter(views)
    share = found / found.sum()
    assert spectrum.lidar(views) == pytest.approx(float(np.exp(-(share * np.log(share)).sum())), rel=1e-6)


def test_lidar_says_nothing_where_views_are_too_few() -> None:
    views = np.random.default_rng(0).normal(size=(10, 2, 16))
    assert spectrum.lidar(views) is None
    assert spectrum.lidar(np.zeros((10, 2, 4))) == 1.0


def test_alpha_req_check_values() -> None:
    expected = CHECKS["alpha_req"]["expected"]
    ranks = np.arange(1, 201.0)
    assert spectrum.alpha_req(ranks**-1.3) == pytest.approx(expected["alpha_power_law_1.3"], abs=1e-12)
    cut = ranks**-1 * np.exp(-ranks / 80)
    assert spectrum.alpha_req(cut) == pytest.approx(expected["alpha_exp_cut"], abs=1e-10)
    assert spectrum.alpha_req(np.arange(1, 51.0) ** -2) == pytest.approx(2)
    assert spectrum.alpha_req(np.r_[1.0, np.zeros(199)]) is None


def test_variances_are_numpys_and_participation_counts_them() -> None:
    for shape in ((50, 8), (8, 50)):
        rows = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1) + 100
        twin = np.linalg.eigvalsh(np.cov(rows.T))[::-1][: min(shape[0] - 1, shape[1])]
        assert spectrum.variances(rows) == pytest.approx(twin, rel=1e-8)
    assert spectrum.participation(np.array([2.0, 2, 2])) == pytest.approx(3)
    assert spectrum.participation(np.array([5.0, 0, 0])) == 1
    assert spectrum.participation(spectrum.variances(np.ones((6, 4)))) == 1


def test_intrinsic_dimension_check_value() -> None:
    check = CHECKS["twonn"]
    rows = np.array(check["inputs"]["x"])
    assert spectrum.intrinsic_dimension(rows) == pytest.approx(check["expected"]["mle"], abs=1e-10)
    assert spectrum.intrinsic_dimension(np.concatenate([rows, rows])) == pytest.approx(check["expected"]["mle"])
    assert spectrum.intrinsic_dimension(np.ones((9, 2))) is None


def test_intrinsic_dimension_of_a_sheet_in_space() -> None:
    sheet = np.random.default_rng(0).random((2000, 3)) @ np.random.default_rng(1).normal(size=(3, 40))
    assert spectrum.intrinsic_dimension(sheet) == pytest.approx(3, abs=0.2)
