"""Full precision whatever the input or autocast."""

from __future__ import annotations

import pytest
import torch

from selfsight.losses.precision import full, unit


@pytest.mark.parametrize(
    ("given", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_float32_at_least(given: torch.dtype, kept: torch.dtype) -> None:
    assert full(torch.ones(2, dtype=given)).dtype == kept
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=given))
    assert rows.dtype == kept
    assert rows.tolist() == [pytest.approx([0.6, 0.8]), [0.0, 0.0]]
