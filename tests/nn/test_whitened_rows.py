"""Whitened vectors vary alike along all directions, whatever is in the file."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfsight.neighbours import unit
from selfsight.nn.whitening import BLOCK, FILE, Whitening


def rows(count: int = 500, width: int = 6) -> np.ndarray:
    """Loud along some axes, which are turned."""
    generator = np.random.default_rng(0)
    loud = generator.normal(size=(count, width)) * np.logspace(0, 2, width)
    turned = np.linalg.qr(generator.normal(size=(width, width)))[0]
    return (loud @ turned + 7).astype(np.float32)


def test_covariance_and_mean() -> None:
    given = rows(BLOCK + 500)
    white = Whitening.fit(given, share=1e-6)
    assert white
    found = white(given)
    assert found.dtype == np.float32
    assert np.abs(found.mean(axis=0)).max() < 1e-3
    assert np.cov(found, rowvar=False, bias=True) == pytest.approx(np.eye(6), abs=0.02)


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_cosines_are_those_of_the_symmetric_root(share: float) -> None:
    """Slow twin: (C + s v I)^(-1/2) (x - m) by eigenvectors, in float64."""
    given = rows().astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(given, rowvar=False, bias=True))
    twin = (given - given.mean(axis=0)) @ axes / np.sqrt(values + share * values.mean()) @ axes.T
    white = Whitening.fit(rows(), share)
    assert white
    found = unit(white(rows()))
    assert found @ found.T == pytest.approx(unit(twin) @ unit(twin).T, abs=1e-4)


def test_nothing_to_learn_from() -> None:
    assert Whitening.fit(rows(5)) is None  # fewer than dimensions
    assert Whitening.fit(np.ones((9, 3), np.float32)) is None
    assert Whitening.fit(np.full((9, 3), np.nan, np.float32)) is None


def test_file(tmp_path: Path) -> None:
    white = Whitening.fit(rows())
    assert white
    assert Whitening.load(tmp_path / FILE, 6) is None
    (tmp_path / FILE).write_bytes(white.save())
    again = Whitening.load(tmp_path / FILE, 6)
    assert again
    assert np.array_equal(again(rows()), white(rows()))
    with pytest.raises(ValueError, match="is not of vectors of 7 numbers"):
        Whitening.load(tmp_path / FILE, 7)
    save_file({"mean": white.mean, "matrix": white.matrix.astype(np.float64)}, tmp_path / FILE)
    with pytest.raises(ValueError, match="is not of vectors of 6 numbers"):
        Whitening.load(tmp_path / FILE, 6)
