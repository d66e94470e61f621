"""Where pictures lie: the axes of scikit-learn's PCA, maps that keep neighbours together, and what few pictures do."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from selfsight.browsing import maps
from selfsight.browsing.late import Form, Late, kept
from selfsight.errors import MissingError
from selfsight.neighbours import unit


def clouds(count: int, width: int = 16) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = 4 * generator.standard_normal((6, width))
    return (centres[np.arange(count) % 6] + generator.standard_normal((count, width))).astype(np.float32)


def test_pca_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "BLOCK", 64)  # several blocks
    vectors = clouds(300)
    ours, theirs = maps.pca(vectors, 3), PCA(3).fit_transform(unit(vectors).astype(np.float64))
    for axis in range(3):
        sign = np.sign((ours[:, axis] * theirs[:, axis]).sum())
        np.testing.assert_allclose(ours[:, axis], sign * theirs[:, axis], atol=2e-5)
    np.testing.assert_array_equal(ours, maps.pca(vectors, 3))


@pytest.mark.parametrize("name", ["pca", "tsne"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_few_pictures(name: str, count: int) -> None:
    laid = maps.places(name, clouds(count))
    assert laid.shape == (count, 2)
    assert laid.dtype == np.float32
    assert np.isfinite(laid).all()
    assert np.abs(laid).max(initial=0) <= 1.0001


def test_the_same_picture_many_times() -> None:
    assert np.isfinite(maps.places("pca", np.ones((20, 4), np.float32))).all()
    assert np.isfinite(maps.places("pca", np.zeros((20, 4), np.float32))).all()


def test_tsne_keeps_neighbours_together_also_beside_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clouds(240)
    assert trustworthiness(unit(vectors), maps.places("tsne", vectors)) > 0.9
    monkeypatch.setattr(maps, "LANDMARKS", 120)
    assert trustworthiness(unit(vectors), maps.places("tsne", vectors)) > 0.85


def test_umap_is_missed_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    assert maps.offered() == ["pca", "tsne"]
    with pytest.raises(MissingError, match=r"pip install 'selfsight\[map\]'"):
        maps.check("umap")
    maps.check("tsne")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # umap-learn's own
def test_umap_keeps_neighbours_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In plain Python: its compiler takes several times as long as the loops of so few pictures."""
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", True)
    vectors = clouds(60)
    assert trustworthiness(unit(vectors), maps.places("umap", vectors)) > 0.8


def written(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FORM = Form("<i4", (3,), 0, 2)


def test_what_takes_long_is_made_once_and_kept(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3, dtype=np.int32)

    late = Late()
    for _ in range(3):
        assert late.now("x", lambda: kept(tmp_path, "x", "0123", FORM, make)).tolist() == [0, 1, 2]
    assert kept(tmp_path, "x", "0123", FORM, make).tolist() == [0, 1, 2]
    assert len(made) == 1
    assert kept(tmp_path, "x", "4567", FORM, make).tolist() == [0, 1, 2]  # of other vectors
    assert [file.name for file in tmp_path.iterdir()] == ["x-4567.npy"]
    assert kept(Path("/proc/nowhere"), "x", "4567", FORM, make).tolist() == [0, 1, 2]
    assert len(made) == 3


@pytest.mark.parametrize(
    "found",
    [
        b"torn",
        written(np.zeros(1, np.int32)).replace(b"(1,), }" + 12 * b" ", b"(1099511627776,), }"),  # 4 TiB
        written(np.zeros(3, np.int64)),
        written(np.zeros((3, 1), np.int32)),
        written(np.int32([0, 1, 2**31 - 1])),
        written(np.int32([0, -1, 2])),
    ],
)
def test_a_strangers_array_is_made_anew(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "x-0123.npy").write_bytes(found)
    assert kept(tmp_path, "x", "0123", FORM, lambda: np.arange(3, dtype=np.int32)).tolist() == [0, 1, 2]


def test_what_failed_is_tried_again() -> None:
    late = Late()
    with pytest.raises(ZeroDivisionError):
        late.now("x", lambda: 1 / 0)
    assert late.now("x", lambda: 1) == 1
