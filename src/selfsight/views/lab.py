"""CIE Lab: a colour as its lightness L, 0 to 100, and where it lies from green to red (a) and from blue to yellow (b).

sRGB primaries and gamma, white point D65 = (0.95047, 1, 1.08883). Libraries differ in the fifth digit of these numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

__all__ = ["gamma", "linear", "to_lab", "to_light"]

XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])
SHARES = XYZ / WHITE[:, None]  # red, green, blue light to X, Y, Z in shares of the white point
AXES = np.array([[0, 116.0, 0, -16.0], [500.0, -500.0, 0, 0], [0, 200.0, -200.0, 0]])  # their roots and 1 to L, a, b
CUT, SLOPE, START = 0.008856, 7.787, 16 / 116  # below CUT a line takes the place of the cube root


def linear(stored: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Amount of light that a stored sRGB value in [0, 1] stands for (IEC 61966-2-1)."""
    return np.where(stored <= 0.04045, stored / 12.92, ((np.maximum(stored, 0) + 0.055) / 1.055) ** 2.4)


def gamma(light: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """The inverse of `linear`; light that no screen can show is clipped to [0, 1]."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_lab(light: Float[np.ndarray, "*S 3"]) -> Float[np.ndarray, "*S 3"]:
    """L, a, b of linear red, green, blue light in [0, 1], in the precision of the input."""
    t = _mixed(light, SHARES)
    return _mixed(np.where(t > CUT, np.cbrt(t), SLOPE * t + START), AXES)


def to_light(lab: Float[np.ndarray, "*S 3"]) -> Float[np.ndarray, "*S 3"]:
    """The inverse of `to_lab`; colours outside the gamut give light outside [0, 1]."""
    back = np.linalg.inv(AXES[:, :3])
    t = _mixed(lab, np.column_stack([back, back @ -AXES[:, 3]]))
    return _mixed(np.where(t**3 > CUT, t**3, (t - START) / SLOPE), np.linalg.inv(SHARES))


def _mixed(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The matrix times every pixel (..., 3); a fourth column is added."""
    return cv2.transform(pixels.reshape(-1, 1, 3), matrix).reshape(pixels.shape)
