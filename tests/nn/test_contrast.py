"""Contrast: against loops in float64, and what is flat stays flat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.nn.contrast import centred, standardised, unit_energy, without

PIXELS = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 7 + 2


def test_each_channel_of_each_picture_by_itself() -> None:
    for found, plain in zip(standardised(PIXELS).flatten(0, 1), PIXELS.flatten(0, 1).numpy(), strict=True):
        mean = sum(plain.ravel()) / plain.size
        deviation = (sum((value - mean) ** 2 for value in plain.ravel()) / plain.size) ** 0.5
        np.testing.assert_allclose(found, (plain - mean) / deviation, rtol=1e-12)
    np.testing.assert_allclose(centred(PIXELS), PIXELS - PIXELS.mean(dim=(2, 3), keepdim=True))


def test_each_picture_as_a_whole() -> None:
    for found, plain in zip(unit_energy(PIXELS), PIXELS.numpy(), strict=True):
        energy = (sum(value**2 for value in plain.ravel()) / plain.size) ** 0.5
        np.testing.assert_allclose(found, plain / energy, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -2.117904, 3.3])
def test_what_is_constant_becomes_zero_not_noise(value: float) -> None:
    flat = torch.full((2, 3, 17, 19), value)
    assert (standardised(flat) == 0).all()
    assert (unit_energy(centred(flat)) == 0).all()
    assert torch.isfinite(unit_energy(flat)).all()


def test_the_least_contrast_of_eight_bits_is_kept() -> None:
    picture = torch.zeros(1, 1, 64, 64)
    picture[..., 5, 5] = 1 / 255 / 0.229
    torch.testing.assert_close(standardised(picture).std(correction=0), torch.tensor(1.0))


def test_brightness_and_contrast_say_nothing() -> None:
    torch.testing.assert_close(standardised(3 * PIXELS + 1), standardised(PIXELS))
    torch.testing.assert_close(unit_energy(3 * PIXELS), unit_energy(PIXELS))


def test_without_an_axis_is_the_published_projection() -> None:
    entry = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["relative_patch"]
    axis, expected = entry["inputs"]["a"], entry["expected"]

    def projected(colours: list[list[float]]) -> torch.Tensor:
        return without(axis, torch.tensor(colours, dtype=torch.float64)[:, :, None, None])[:, :, 0, 0]

    matrix = projected(np.eye(3).tolist())
    torch.testing.assert_close(
        matrix, torch.tensor(expected["projection_matrix"], dtype=torch.float64), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(projected(matrix.tolist()), matrix)  # once is enough
    assert torch.linalg.matrix_rank(matrix) == 2
    assert projected([[10, 20, 30], axis]).tolist() == [
        pytest.approx(expected["B_applied_to_[10,20,30]"]),
        pytest.approx(expected["B_applied_to_a"], abs=1e-12),
    ]
