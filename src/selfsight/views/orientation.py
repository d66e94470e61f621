"""Orientation: whether pictures have an upright at all, asked of a classifier that takes no training.

Quarter turns of a few hundred small pictures, half of them to fit and half to answer for: ridge regression on coarse
lightness and gradients. On emoji it is right in half of the cases, on clothes in nine of ten, on noise in a quarter.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from selfsight.views.render import whole

__all__ = ["FEWEST", "Upright", "upright"]

FEWEST = 100  # pictures: on fewer the answer would be luck
PARTS = 20  # in turn to fit and to answer for, so that copies and pictures of one burst, side by side, are on one side
VIEW, CELLS = 32, 8  # pixels of what is looked at, and means along its side


class Upright(NamedTuple):
    """How well the four turns of held-out pictures are told apart; chance is 1/4."""

    accuracy: float
    error: float  # standard error over pictures, or over parts where copies are right together
    pictures: int

    @property
    def clear(self) -> bool:
        """Whether chance lies three errors below (noise: once in 60 sets of 100). Few pictures cannot tell: True."""
        return self.pictures < FEWEST or self.accuracy - 3 * self.error > 0.25


def upright(images: Iterable[np.ndarray]) -> Upright:
    """Fit on every other part of the pictures (H, W, C) and answer for the rest, then the other way round."""
    described = [[_described(np.rot90(view, k)) for k in range(4)] for view in map(_grey, images)]
    if len(described) < FEWEST:
        return Upright(0.25, 0.0, len(described))
    rows = np.array(described)  # (N, 4, F)
    part, right = np.arange(len(rows)) * PARTS // len(rows), np.empty(len(rows))
    for one in (0, 1):
        asked = part % 2 == one
        right[asked] = _answered(rows[~asked], rows[asked]).mean(axis=1)
    shares = np.bincount(part, right) / np.bincount(part)  # (PARTS,)
    error = max(right.std() / sqrt(len(right)), shares.std() / sqrt(PARTS - 1))
    return Upright(float(right.mean()), float(error), len(right))


def _answered(fitted: Float[np.ndarray, "N 4 F"], asked: Float[np.ndarray, "M 4 F"]) -> np.ndarray:
    """Whether each turn of each asked picture is found, (M, 4)."""
    middle = fitted.mean(axis=(0, 1))
    rows = (fitted - middle).reshape(-1, fitted.shape[2])
    turns = np.tile(np.eye(4) - 0.25, (len(fitted), 1))
    square = rows.T @ rows
    strength = max(float(np.trace(square)) / len(square), 1e-12)  # the mean direction's; 0.3 to 3 of it do as well
    weights = np.linalg.solve(square + strength * np.eye(len(square)), rows.T @ turns)
    return np.asarray(((asked - middle) @ weights).argmax(axis=2) == np.arange(4))


def _grey(image: np.ndarray) -> np.ndarray:
    """The mean over the channels of a small view, (VIEW, VIEW)."""
    return np.asarray(whole(image, VIEW).mean(axis=2, dtype=np.float32))


def _described(view: np.ndarray) -> np.ndarray:
    """Lightness and gradients, the latter with and without their sign, as 8x8 means; each part of length 1."""
    down, right = np.gradient(view)
    means = cv2.resize(np.dstack([view - view.mean(), down, right]), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    sizes = cv2.resize(np.dstack([np.abs(down), np.abs(right)]), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    parts = means[..., 0], np.concatenate([means[..., 1:], sizes], axis=2)
    return np.concatenate([part.ravel() / max(float(np.linalg.norm(part)), 1e-12) for part in parts]).astype(np.float64)
