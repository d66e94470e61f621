"""Vectors of pictures: the right rows, in order, from the right device, whatever cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight.embedding import embed as embedding
from selfsight.nn.encoder import Encoder

SIZE = 16


class Shades:
    """Pictures of noise; those of `broken` give another row's."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = broken

    def read(self, row: int, among: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        used = 0 if row in self.broken else row
        return np.random.default_rng(used).integers(0, 256, (20, 24, 3), dtype=np.uint8), used

    def ahead(self, rows: np.ndarray) -> None:
        """Nothing is far away."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("test_resnet", channels=3, size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3, low=0, high=255)


def test_batches_join_to_the_same_vectors_without_the_unreadable(encoder: Encoder) -> None:
    told: list[int] = []
    pictures, rows = Shades(broken=(3, 4, 5, 9)), np.array([7, 3, 4, 5, 1, 2, 9, 8])
    vectors, kept = embedding.embed(encoder, pictures, rows, size=SIZE, batch=3, tell=told.append)
    assert kept.tolist() == [7, 1, 2, 8]
    assert told == [1, 3, 4]
    assert vectors.shape == (4, encoder.width)
    assert vectors.dtype == np.float32
    parts = list(embedding.batches(encoder, pictures, rows, size=SIZE, batch=2))
    np.testing.assert_allclose(np.concatenate([part for part, _ in parts]), vectors, rtol=1e-4, atol=1e-5)
    assert np.concatenate([shown for _, shown in parts]).tolist() == kept.tolist()


def test_threads_with_batches_of_their_own_give_the_same_vectors(encoder: Encoder) -> None:
    """Also where the caller stops half-way; and the caller has as many threads as before."""
    pictures, rows, before = Shades(broken=tuple(range(64, 128))), np.arange(300)[::-1], torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found[threads] = embedding.embed(encoder.train(), pictures, rows, size=SIZE, batch=192)
            assert encoder.training
            for _ in embedding.batches(encoder, pictures, rows, size=SIZE, batch=192):
                break
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[1][1].tolist() == found[3][1].tolist() == [row for row in rows if not 64 <= row < 128]
    np.testing.assert_allclose(found[1][0], found[3][0], rtol=1e-4, atol=1e-5)


def test_nothing_readable_gives_no_vectors(encoder: Encoder) -> None:
    vectors, kept = embedding.embed(encoder, Shades(broken=(1, 2)), np.array([1, 2]), size=SIZE)
    assert vectors.shape == (0, encoder.width)
    assert kept.shape == (0,)


def test_patches_have_an_axis_of_places(encoder: Encoder) -> None:
    vectors, _ = embedding.embed(encoder, Shades(), np.arange(3), size=SIZE, patches=True)
    assert vectors.ndim == 3
    assert (len(vectors), vectors.shape[2]) == (3, encoder.width)


def test_the_encoder_goes_to_the_best_device_and_comes_back(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []  # where to, and whether the new tensors could never be trained
    monkeypatch.setattr(embedding, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(encoder, "to", lambda device: asked.append((str(device), torch.is_inference_mode_enabled())))
    with pytest.raises(ZeroDivisionError), torch.inference_mode(), embedding.moved(encoder):
        raise ZeroDivisionError
    assert asked == [("cuda", False), ("cpu", False)]
    with embedding.moved(encoder, torch.device("cpu")):
        assert len(asked) == 2  # it lies there already


def test_without_a_gpu_the_cpu_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert embedding.best_device().type == kind
