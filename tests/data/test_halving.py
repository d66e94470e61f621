"""Halving: the sizes that are told are those that come out, and many channels fare like few."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.datasets import load_sample_images

from selfsight.data.decode import opened, unguarded
from selfsight.data.halving import halved, halvings, shapes

PHOTO = load_sample_images().images[0]  # 427 x 640


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_the_sizes_told_are_those_that_come_out(channels: int) -> None:
    sides = np.array([(31, 400), (32, 32), (33, 47), (63, 64), (64, 64), (127, 129), (255, 511), (256, 300), (300, 3)])
    for least in (16, 17):
        for height, width, *told in np.column_stack([sides, np.stack(shapes(*sides.T, least), axis=1)]).tolist():
            assert halved(np.zeros((height, width, channels), np.uint8), least).shape == (*told, channels)
            assert height >> halvings(min(height, width), least) == told[0]


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


def jpeg(array: np.ndarray, mode: str, orientation: int) -> bytes:
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).convert(mode).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("least", "far"), [(13, 1), (26, 1), (52, 1), (104, 1), (208, 1), (209, 0)])
def test_a_jpeg_that_its_decoder_halves_is_like_one_that_is_halved_later(
    mode: str, orientation: int, least: int, far: float
) -> None:
    """Within so many grey levels. Of odd sizes, which OpenCV stretches by a part of a pixel, the shape is equal."""
    data = jpeg(PHOTO[:416], mode, orientation)
    later, found = halved(opened(data), least), opened(data, least)
    assert found.shape == later.shape
    assert np.abs(found.astype(int) - later).mean() <= far
    assert np.array_equal(found, unguarded(data, least))
    odd = jpeg(PHOTO[:, :639], mode, orientation)
    assert opened(odd, least).shape == halved(opened(odd), least).shape


def test_other_formats_are_halved_as_they_are_decoded() -> None:
    wide, real = PHOTO[..., 0].astype(np.uint16) * 200, PHOTO[..., 0].astype(np.float32) / 7
    for array, save in (
        (PHOTO, lambda file: Image.fromarray(PHOTO).save(file, "PNG")),
        (wide, lambda file: Image.fromarray(wide).save(file, "PNG")),
        (real, lambda file: tifffile.imwrite(file, real)),
    ):
        file = BytesIO()
        save(file)
        expected = halved(array.reshape(427, 640, -1), 50)
        assert expected.shape[:2] == (53, 80)
        assert np.array_equal(opened(file.getvalue(), 50), expected)
