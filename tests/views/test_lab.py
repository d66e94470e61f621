"""Lab against its check values, OpenCV, and its own inverse."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfsight.views.lab import gamma, linear, to_lab, to_light

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["colorization"]["expected"]
STORED = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "white": (1, 1, 1),
    "gray50": (0.5, 0.5, 0.5),
    "orange": (1, 0.5, 0),
}


def cube(steps: int) -> np.ndarray:
    """Every colour of a coarse sRGB cube, (steps^3, 3)."""
    return np.stack(np.meshgrid(*[np.linspace(0, 1, steps)] * 3), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("name", STORED)
def test_check_values(name: str) -> None:
    found = to_lab(linear(np.array(STORED[name], np.float64)))
    np.testing.assert_allclose(found, CHECK["lab_of"][name], rtol=1e-9, atol=1e-12)
    single = to_lab(linear(np.array(STORED[name], np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, CHECK["lab_of"][name], atol=1e-4)


def test_is_opencvs_to_two_hundredths() -> None:
    """OpenCV interpolates the gamma and the cube root in tables."""
    stored = cube(17).astype(np.float32)
    expected = cv2.cvtColor(stored[None], cv2.COLOR_RGB2LAB)[0]
    np.testing.assert_allclose(to_lab(linear(stored)), expected, atol=0.02)


def test_there_and_back() -> None:
    stored = cube(17)
    np.testing.assert_allclose(gamma(linear(stored)), stored, atol=1e-7)  # the two pieces meet to seven digits
    light = linear(stored)
    np.testing.assert_allclose(to_light(to_lab(light)), light, atol=1e-6)


def test_light_outside_of_the_gamut_is_clipped() -> None:
    shown = gamma(to_light(np.array([[50.0, 127.0, -128.0], [100.0, 50.0, 50.0]])))
    assert shown.min() >= 0
    assert shown.max() <= 1
