"""One pixel format for a set: nothing is lost, nothing is clipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsight.data.inspect import inspect_data
from selfsight.data.manifest import Manifest, scan
from selfsight.data.ranges import PixelFormat, conform, measure, outlier
from selfsight.data.source import find
from selfsight.errors import DataError


def manifest_of(root: Path, *arrays: np.ndarray) -> Manifest:
    for i, array in enumerate(arrays):
        if array.dtype == np.uint8:
            Image.fromarray(array.squeeze()).save(root / f"{i}.png")
        else:
            photometric = "rgb" if array.ndim == 3 and array.shape[2] == 3 else "minisblack"
            tifffile.imwrite(root / f"{i}.tif", array, photometric=photometric, planarconfig="contig")
    return scan(find(root), use_all=True)


def grey(value: float, dtype: type) -> np.ndarray:
    return np.linspace(0, value, 16).reshape(4, 4).astype(dtype)


def test_8_bit_sets_are_not_read(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "0.png").unlink()
    assert measure(manifest, manifest.train_rows()) == PixelFormat(3, "uint8", 0.0, 255.0)


def test_12_bits_in_16_are_measured(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, grey(4095, np.uint16), 100 + grey(900, np.uint16))
    form = measure(manifest, np.array([1]))
    assert (form.channels, form.dtype, form.low, form.high) == (1, "uint16", 100.0, 1000.0)
    assert measure(manifest, manifest.train_rows()).high == 4095.0


def test_grey_and_colour_become_colour(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, grey(255, np.uint8), np.zeros((4, 4, 3), np.uint8))
    form = measure(manifest, manifest.train_rows())
    assert form.channels == 3
    assert measure(manifest, np.array([0])).channels == 1
    assert measure(manifest, np.array([0]), channels=3).channels == 3
    np.testing.assert_array_equal(conform(np.full((2, 2, 1), 9, np.uint8), form), np.full((2, 2, 3), 9))


def test_8_bit_pictures_fill_a_16_bit_set(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, grey(255, np.uint8), grey(4095, np.uint16))
    form = measure(manifest, manifest.train_rows())
    assert (form.dtype, form.low, form.high) == ("uint16", 0.0, 65535.0)
    assert conform(np.array([[[255]]], np.uint8), form).tolist() == [[[65535]]]


def test_floats_are_quantised_finely_and_brighter_ones_still_fit(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, grey(1.0, np.float32), -grey(1.0, np.float32))
    form = measure(manifest, manifest.train_rows())
    assert (form.float_low, form.float_high) == (-2.0, 2.0)
    values = np.linspace(-1.9, 1.9, 101, dtype=np.float32).reshape(1, 101, 1)
    whole = conform(values, form)
    assert whole.dtype == np.uint16
    back = whole / 65535 * 4 - 2
    assert np.abs(back - values).max() < 4 / 65535
    scaled = (conform(np.array([[[-1.0], [1.0]]], np.float32), form).ravel() - form.low) / (form.high - form.low)
    np.testing.assert_allclose(scaled, [0, 1], atol=1e-4)


def test_a_picture_that_takes_the_range_from_the_others_is_named(tmp_path: Path) -> None:
    arrays = [grey(1.0, np.float32) for _ in range(5)]
    said: list[str] = []
    manifest = manifest_of(tmp_path, *arrays)
    measure(manifest, manifest.train_rows(), say=said.append)
    assert said == []
    arrays[3][0, 0] = -9999
    manifest = manifest_of(tmp_path, *arrays)
    measure(manifest, manifest.train_rows(), say=said.append)
    assert said == [outlier([(10000.0, "3.tif"), (1.0, "0.tif")])]
    assert said[0].startswith("'3.tif' spans 10000 where the median float picture spans 1,")
    assert said[0] in inspect_data(manifest, find(tmp_path)).suggestions


def test_values_too_far_apart_for_a_range_are_refused(tmp_path: Path) -> None:
    """GDAL's usual number for no data, in a file that does not say so."""
    manifest = manifest_of(tmp_path, grey(1.0, np.float32), grey(-3.4028235e38, np.float32))
    with pytest.raises(DataError, match=r"values from -3.40282e\+38 to 1, .* no data"):
        measure(manifest, manifest.train_rows())


def test_one_value_everywhere_does_not_divide_by_zero(tmp_path: Path) -> None:
    form = measure(manifest := manifest_of(tmp_path, np.full((4, 4), 7, np.uint16)), manifest.train_rows())
    assert form.high > form.low


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="5 channels where the data set has 3"):
        conform(np.zeros((2, 2, 5), np.uint8), PixelFormat())
    with pytest.raises(DataError, match="float picture"):
        conform(np.zeros((2, 2, 3), np.float32), PixelFormat())


def test_colour_in_a_grey_set_becomes_its_luminance() -> None:
    found = conform(np.array([[[255, 0, 0], [255, 255, 255]]], np.uint8), PixelFormat(channels=1))
    assert found.tolist() == [[[76], [255]]]


def test_nothing_to_train_on_is_one_sentence(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="no picture to train on"):
        measure(manifest, np.array([], np.int64))


def test_12_bits_are_no_picture_of_a_set_of_8() -> None:
    form = PixelFormat(1)
    assert conform(grey(65535, np.uint16)[..., None], form).max() == 255
    assert conform(np.zeros((2, 2, 1), np.uint16), form).max() == 0, "black is black"
    with pytest.raises(DataError, match="values up to 4095 only, in a data set of 8 bits; convert it"):
        conform(grey(4095, np.uint16)[..., None], form)
