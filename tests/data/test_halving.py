"""Halving: the sizes that are told are those that come out, and many channels fare like few."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.data.halving import halved, shapes


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_the_sizes_told_are_those_that_come_out(channels: int) -> None:
    sides = np.array([(31, 400), (32, 32), (33, 47), (63, 64), (64, 64), (127, 129), (255, 511), (256, 300), (300, 3)])
    for least in (16, 17):
        for height, width, *told in np.column_stack([sides, np.stack(shapes(*sides.T, least), axis=1)]).tolist():
            assert halved(np.zeros((height, width, channels), np.uint8), least).shape == (*told, channels)


def test_none_halves_nothing() -> None:
    heights, widths = np.array([5000]), np.array([4000])
    assert shapes(heights, widths, None) == (heights, widths)


def test_channels_are_halved_each_by_itself() -> None:
    image = np.random.default_rng(0).integers(0, 65536, (64, 70, 7), np.uint16)
    together = halved(image, 16)
    assert np.array_equal(together, np.concatenate([halved(image[..., k : k + 1], 16) for k in range(7)], axis=2))
    twice = image.astype(np.float64).reshape(16, 4, 70, 7)[:, :, :68].reshape(16, 4, 17, 4, 7).mean((1, 3))
    assert together.shape == (16, 17, 7)
    assert np.abs(halved(image[:, :68], 16) - twice).max() <= 1  # two roundings
