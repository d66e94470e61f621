"""Pictures at half their size, and half again: what a view hardly sees of a large picture need not be kept."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Int

__all__ = ["halved", "halvings", "in_fours", "shapes"]

FOUR = 4  # channels that OpenCV's area resize takes at once

Sides = Int[np.ndarray, "N"]


def halved(image: np.ndarray, least: int) -> np.ndarray:
    """(H, W, C) by means of 2 x 2 pixels, as often as both sides stay `least` pixels or more; the same if never."""
    if image.shape[2] > FOUR:
        return in_fours(lambda part: halved(part, least), image)
    (height, width), channels = image.shape[:2], image.shape[2]
    while height >= 2 * least and width >= 2 * least:
        height, width = height // 2, width // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image.reshape(height, width, channels)  # OpenCV drops the axis of a single channel


def halvings(sides: Sides, least: int) -> Sides:
    """How often each side can be halved and stay `least` pixels or more."""
    times: np.ndarray = np.frexp(np.maximum(1, sides // least))[1] - 1  # floor(floor(x / 2) / 2) = floor(x / 4)
    return times


def shapes(heights: Sides, widths: Sides, least: int | None) -> tuple[Sides, Sides]:
    """The heights and widths of pictures once they are halved so; as they are where `least` is None."""
    if least is None:
        return heights, widths
    times = halvings(np.minimum(heights, widths), least)
    return heights >> times, widths >> times


def in_fours(change: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """Apply a change that treats every channel alike to four channels at a time."""
    channels = image.shape[2]
    parts = [change(np.ascontiguousarray(image[..., first : first + FOUR])) for first in range(0, channels, FOUR)]
    return np.concatenate([part[..., None] if part.ndim == 2 else part for part in parts], axis=2)
