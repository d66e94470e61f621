"""I-JEPA's loss: the published check values, a slow twin, precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm

from selfsight.losses.latent_prediction import latent_prediction
from selfsight.views import masks

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["ijepa"]
TOLD, VECTORS = (torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in ("pred", "teacher"))


def test_check_values() -> None:
    np.testing.assert_allclose(layer_norm(VECTORS, (3,)).numpy(), CHECK["expected"]["target"], rtol=1e-9)
    assert latent_prediction(TOLD, VECTORS).item() == pytest.approx(CHECK["expected"]["loss"], rel=1e-9)


@pytest.mark.parametrize("named", list(CHECK["block_sizes"]))
def test_block_sizes(named: str) -> None:
    grid, *words = named.replace("context scale", "context").replace("scale", "").split()
    side = int(grid.split("x")[0])
    numbers = [float(word) for word in words if word.replace(".", "").isdigit()]
    scale, aspect = numbers if len(numbers) == 2 else (numbers[0], 1.0)
    assert list(masks._shape((side, side), scale, aspect)) == CHECK["block_sizes"][named]


def test_slow_twin_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    told, vectors = (torch.randn(2, 3, 5, dtype=torch.float64, generator=generator) * 2 for _ in range(2))
    total = 0.0
    for guess, row in zip(told.flatten(0, 1).tolist(), vectors.flatten(0, 1).tolist(), strict=True):
        mean = sum(row) / 5
        deviation = (sum((x - mean) ** 2 for x in row) / 5 + 1e-5) ** 0.5
        for one, x in zip(guess, row, strict=True):
            off = abs(one - (x - mean) / deviation)
            total += off**2 / 2 if off < 1 else off - 0.5
    assert latent_prediction(told, vectors).item() == pytest.approx(total / 30, rel=1e-9)
    assert torch.autograd.gradcheck(lambda t: latent_prediction(t, vectors), [told.requires_grad_()], atol=1e-6)


def test_bf16_is_computed_in_float32() -> None:
    told, vectors = TOLD.float(), VECTORS.float()
    expected = latent_prediction(told, vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(latent_prediction(told, vectors), expected)
    assert latent_prediction(told.bfloat16(), vectors.bfloat16()).dtype == torch.float32
    assert torch.isfinite(latent_prediction(told * 0, vectors * 0))
