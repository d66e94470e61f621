"""Codebooks: check values, slow twins, dead codes, k-means that repeats itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfsight.losses.commitment import commitment
from selfsight.nn.codebook import Codebook, UnitCodebook, centres, nearest, passed_through

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["beit_tokenizers"]
ROWS = torch.tensor(CHECK["inputs"]["z_unit"], dtype=torch.float64)
VECTORS = torch.tensor(CHECK["inputs"]["codebook_unit"], dtype=torch.float64)


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full precision is float64 here, as in the tests over ranks."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_check_values() -> None:
    expected = CHECK["expected"]
    codes = nearest(ROWS, VECTORS)
    assert codes.tolist() == expected["indices"]
    assert ((ROWS @ VECTORS.T).argmax(dim=1).tolist() == codes.tolist()) == expected[
        "argmin_euclid_equals_argmax_cosine"
    ]
    assert commitment(ROWS, VECTORS[codes]).mean().item() == pytest.approx(expected["commitment_mse"], rel=1e-9)
    book = UnitCodebook(5, 3).double()
    book.vectors.copy_(VECTORS)
    book.follow(ROWS, codes, CHECK["inputs"]["decay"])
    expected_after = torch.tensor(expected["codebook_after_ema"], dtype=torch.float64)
    torch.testing.assert_close(book.vectors, expected_after, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("parts", [1, 7])
def test_the_nearest_equals_its_slow_twin(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.nn.codebook.ROWS", -(-30 // parts))
    rows, vectors = drawn(5, 6, 4), drawn(9, 4, seed=1)
    found = nearest(rows, vectors)
    for place in np.ndindex(5, 6):
        distances = [float(((rows[place] - vector) ** 2).sum()) for vector in vectors]
        assert found[place] == int(np.argmin(distances))


def test_running_means_equal_their_slow_twin() -> None:
    book = Codebook(4, 3).double()
    book.vectors.copy_(drawn(4, 3, seed=2))
    sums, counts = book.vectors.clone().numpy(), np.ones(4)
    for step in range(5):
        rows, codes = drawn(20, 3, seed=step), torch.arange(20) % 3  # the fourth is never used
        book.follow(rows, codes, 0.9, key=step)
        for code in range(4):
            own = rows[codes == code].numpy()
            counts[code] = 0.9 * counts[code] + 0.1 * len(own)
            sums[code] = 0.9 * sums[code] + 0.1 * own.sum(axis=0)
        np.testing.assert_allclose(book.vectors, sums / counts[:, None], rtol=1e-12)
        np.testing.assert_allclose(book.counts, counts, rtol=1e-12)


def test_a_dead_code_takes_the_place_of_a_row() -> None:
    book = Codebook(3, 2).double()
    book.counts.copy_(torch.tensor([10.0, 10.0, 0.05]))
    rows = drawn(8, 2)
    twin = Codebook(3, 2).double()
    twin.load_state_dict(book.state_dict())
    book.follow(rows, torch.tensor([0, 1] * 4), 0.99, key=5)
    assert (rows == book.vectors[2]).all(dim=1).any()
    assert book.counts[2] > 5
    twin.follow(rows, torch.tensor([0, 1] * 4), 0.99, key=5)
    assert torch.equal(book.vectors, twin.vectors), "drawn by the key"


def test_the_gradient_goes_straight_through() -> None:
    rows, vectors = drawn(3, 2).requires_grad_(), drawn(3, 2, seed=1)
    passed = passed_through(rows, vectors)
    torch.testing.assert_close(passed, vectors)
    (passed * torch.arange(6.0).view(3, 2)).sum().backward()
    assert torch.equal(rows.grad, torch.arange(6.0, dtype=torch.float64).view(3, 2))


def test_a_codebook_begins_at_the_centres_of_its_rows() -> None:
    middles = torch.tensor([[5.0, 0], [0, 5], [-5, -5]])
    rows = (middles[:, None] + 0.1 * torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(0))).flatten(0, 1)
    book, unit = Codebook(3, 2), UnitCodebook(3, 2)
    book.begin(rows, seed=0)
    unit.begin(rows, seed=0)
    for found, wanted in ((book.vectors, middles), (unit.vectors, normalize(middles, dim=1))):
        assert torch.cdist(found.double(), wanted.double()).min(dim=0).values.max() < 0.1
    torch.testing.assert_close(unit.vectors.norm(dim=1), torch.ones(3))


def test_centres_repeat_themselves_and_take_few_or_equal_rows() -> None:
    rows = drawn(300, 4)
    assert torch.equal(centres(rows, 20, seed=3), centres(rows, 20, seed=3))
    assert not torch.equal(centres(rows, 20, seed=3), centres(rows, 20, seed=4))
    assert centres(rows[:5], 20, seed=0).shape == (20, 4)
    assert torch.isfinite(centres(torch.zeros(50, 4), 20, seed=2**40)).all()
