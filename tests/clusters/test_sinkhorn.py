"""Balanced codes: the published check values, and what the algorithm promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.clusters.sinkhorn import sinkhorn
from selfsight.losses.swapped_prediction import swapped_prediction

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["swav"]
VIEWS = [torch.tensor(CHECK["inputs"][f"scores_view{v}_BxK"], dtype=torch.float64) for v in (1, 2)]


def slow_twin(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The paper's order: prototypes are rows, all of it sums to 1."""
    rows = np.exp(scores / epsilon).T
    rows /= rows.sum()
    for _ in range(iterations):
        for k in range(len(rows)):
            rows[k] /= rows[k].sum() * len(rows)
        for b in range(rows.shape[1]):
            rows[:, b] /= rows[:, b].sum() * rows.shape[1]
    return (rows * rows.shape[1]).T


def test_check_values() -> None:
    known = CHECK["expected"]
    codes = [sinkhorn(view, epsilon=0.05, iterations=3) for view in VIEWS]
    for code, name in zip(codes, ("q1", "q2"), strict=True):
        np.testing.assert_allclose(code.numpy(), known[name], rtol=1e-9)
    assert codes[0].sum(dim=1).tolist() == pytest.approx(known["row_sums"], rel=1e-12)
    assert codes[0].sum(dim=0).tolist() == pytest.approx(known["column_sums_after_3_iterations"], rel=1e-9)
    loss = swapped_prediction(torch.stack(VIEWS, dim=1), torch.stack(codes, dim=1), temperature=0.1)
    assert loss.item() == pytest.approx(known["loss"], rel=1e-9)
    long = sinkhorn(VIEWS[0], epsilon=0.05, iterations=100).sum(dim=0).tolist()
    assert long == pytest.approx(known["column_sums_after_100_iterations"], rel=1e-9)


@pytest.mark.parametrize("shape", [(5, 3), (4, 7)])
def test_slow_twin(shape: tuple[int, int]) -> None:
    scores = torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = sinkhorn(scores, epsilon=0.1, iterations=4)
    np.testing.assert_allclose(found.numpy(), slow_twin(scores.numpy(), 0.1, 4), rtol=1e-9)
    torch.testing.assert_close(sinkhorn(scores + 50, epsilon=0.1, iterations=4), found)


def test_extreme_and_equal_scores_stay_finite() -> None:
    for scores in (torch.zeros(4, 3), torch.eye(4) * 1e4, torch.full((4, 3), -1e4)):
        shares = sinkhorn(scores, epsilon=0.05, iterations=3)
        assert torch.isfinite(shares).all()
        assert shares.dtype == torch.float32
        assert not shares.requires_grad
    torch.testing.assert_close(sinkhorn(torch.zeros(4, 3), epsilon=0.05, iterations=3), torch.full((4, 3), 1 / 3))
