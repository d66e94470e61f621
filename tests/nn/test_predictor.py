"""The predictor: waves against their formula, order of what is known does not matter, places do."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch

from selfsight.errors import RecipeError
from selfsight.nn.positions import waves
from selfsight.nn.predictor import Predictor

OPTIONS = {"width": 24, "depth": 2, "heads": 3}


def test_waves_equal_their_slow_twin() -> None:
    found = waves((2, 3), 8)
    for row in range(2):
        for column in range(3):
            expected = [f(place / 10000 ** (k / 2)) for place in (column, row) for f in (sin, cos) for k in range(2)]
            assert found[3 * row + column].tolist() == pytest.approx(expected, abs=1e-7)
    assert len(torch.unique(waves((14, 14), 64), dim=0)) == 196


def test_only_places_give_an_order() -> None:
    torch.manual_seed(0)
    predictor = Predictor(16, 5, (4, 4), **OPTIONS)
    vectors, where, asked = torch.randn(2, 6, 16), torch.randperm(16)[:6].repeat(2, 1), torch.tensor([[7, 2, 9]] * 2)
    told = predictor(vectors, where, asked)
    assert told.shape == (2, 3, 5)
    order = torch.randperm(6)
    torch.testing.assert_close(predictor(vectors[:, order], where[:, order], asked), told)
    torch.testing.assert_close(predictor(vectors, where, asked.flip(1)), told.flip(1))
    assert not torch.allclose(predictor(vectors, where.flip(1), asked), told)
    assert not torch.allclose(told[:, 0], told[:, 1])


def test_widths_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(RecipeError, match="use multiples"):
        Predictor(16, 5, (4, 4), width=24, depth=1, heads=5)
