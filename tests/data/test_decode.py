"""The opener: every kind of pixel that goes in comes out as it was, and damage is refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsight.data.decode import Refused, decode, describe, displayed, probe
from selfsight.data.decode.containers import orientation
from selfsight.data.decode.formats import sniff
from selfsight.data.decode.raster import pixels, upright
from selfsight.errors import ImageError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
DEEP = NOISE.astype(np.uint16) * 257 + 3


def saved(array: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def opened(data: bytes) -> np.ndarray:
    return pixels(sniff(data[:160]), data)


LOSSLESS = {
    "png": (saved(NOISE, "PNG"), NOISE),
    "bmp": (saved(NOISE, "BMP"), NOISE),
    "ppm": (saved(NOISE, "PPM"), NOISE),
    "webp": (saved(NOISE, "WEBP", lossless=True), NOISE),
    "grey png": (saved(NOISE[..., 0], "PNG"), NOISE[..., :1]),
    "16-bit grey png": (saved(DEEP[..., 0], "PNG"), DEEP[..., :1]),
    "16-bit colour png": (cv2.imencode(".png", DEEP[..., ::-1])[1].tobytes(), DEEP),
    "16-bit pgm": (b"P5 32 24 65535\n" + DEEP[..., 0].astype(">u2").tobytes(), DEEP[..., :1]),
    "tiff": (tiff(NOISE, photometric="rgb"), NOISE),
    "lzw tiff": (saved(NOISE, "TIFF", compression="tiff_lzw"), NOISE),
    "16-bit deflated tiles": (tiff(DEEP, photometric="rgb", compression="zlib", tile=(16, 16)), DEEP),
    "big-endian tiff": (tiff(DEEP[..., 0], photometric="minisblack", byteorder=">"), DEEP[..., :1]),
    "float tiff": (tiff(DEEP[..., 0].astype(np.float64), photometric="minisblack"), DEEP[..., :1].astype(np.float32)),
    "planar tiff": (
        tiff(np.moveaxis(np.tile(DEEP, 2)[..., :5], 2, 0), photometric="minisblack", planarconfig="separate"),
        np.tile(DEEP, 2)[..., :5],
    ),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_come_out_as_they_went_in(name: str) -> None:
    data, expected = LOSSLESS[name]
    found = opened(data)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_premultiplied_colours_are_laid_on_white_as_they_are(channels: int, deep: bool) -> None:
    """Whatever the compression; TIFF 6.0, section 18."""
    stored = np.random.default_rng(0).integers(0, 256, (24, 32, channels)).astype(np.uint8)
    stored[0, 0] = [100] * (channels - 1) + [128]
    array = stored.astype(np.uint16) * 257 if deep else stored
    right = np.minimum(stored[..., :-1].astype(int) + 255 - stored[..., -1:], 255) * (257 if deep else 1)
    assert right[0, 0, 0] == 227 * (257 if deep else 1)
    kind = "rgb" if channels == 4 else "minisblack"
    files = [tiff(array, photometric=kind, extrasamples=["assocalpha"], compression=way) for way in (None, "zlib")]
    if not deep:  # Pillow writes LZW, and not premultiplied
        straight, tag = saved(stored, "TIFF", compression="tiff_lzw"), (338, 3, 1)
        files.append(straight.replace(struct.pack("<HHIH", *tag, 2), struct.pack("<HHIH", *tag, 1)))
        assert files[-1] != straight
    for data in files:
        np.testing.assert_array_equal(opened(data), right)


@pytest.mark.parametrize("name", LOSSLESS)
def test_the_header_says_what_decoding_gives(name: str) -> None:
    data, expected = LOSSLESS[name]
    header = describe(data)
    assert (header.height, header.width, header.channels, header.dtype) == (*expected.shape, expected.dtype.name)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_undone(turn: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "turned.png").write_bytes(saved(NOISE, "PNG", exif=exif))
    found = decode(tmp_path / "turned.png")
    np.testing.assert_array_equal(found, upright(NOISE, turn))
    header = probe(tmp_path / "turned.png")
    assert (header.height, header.width) == found.shape[:2]


@pytest.mark.parametrize("turn", range(1, 9))
def test_upright_is_what_pillow_does(turn: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(NOISE)
    image.getexif()[0x0112] = turn
    np.testing.assert_array_equal(upright(NOISE, turn), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"])
def test_broken_exif_means_upright(exif: bytes) -> None:
    assert orientation(exif) == 1


def test_transparency_is_laid_on_white() -> None:
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[..., 0] = 255
    hidden[:2, :, 3] = 255
    found = opened(saved(hidden, "PNG"))
    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[3, 0].tolist() == [255, 255, 255]


def test_16_bit_transparency_is_laid_on_white() -> None:
    hidden = np.zeros((4, 4, 4), np.uint16)
    hidden[:2, :, 3] = 65535
    found = opened(cv2.imencode(".png", hidden)[1].tobytes())
    assert found.dtype == np.uint16
    assert (found[:2] == 0).all()
    assert (found[2:] == 65535).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_half_a_file_is_refused(kind: str) -> None:
    data = saved(NOISE, kind)
    with pytest.raises(Refused) as refused:
        opened(data[: len(data) // 2])
    assert refused.value.reason == "truncated"


def test_one_flipped_bit_in_a_png_is_refused() -> None:
    data = bytearray(saved(NOISE, "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(Refused, match="corrupt"):
        opened(bytes(data))


def test_a_deflated_page_cannot_claim_more_than_it_holds() -> None:
    data = bytearray(LOSSLESS["16-bit deflated tiles"][0])
    at = data.index(struct.pack("<HH", 257, 4))  # the tag ImageLength
    struct.pack_into("<I", data, at + 8, 20000)
    with pytest.raises(Refused):
        opened(bytes(data))


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(Refused, match="non_finite_pixels"):
        opened(tiff(np.array([[0.0, np.nan]], np.float32), photometric="minisblack"))


@pytest.mark.parametrize("name", LOSSLESS)
def test_damage_is_refused_or_harmless(name: str) -> None:
    """Random damage ends in Refused or in pixels of the size that the header says, never in another exception."""
    data, _ = LOSSLESS[name]
    generator = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            damaged[place] = int(generator.integers(256))
        try:
            found, header = opened(bytes(damaged)), describe(bytes(damaged))
        except Refused:
            continue
        assert found.shape == (header.height, header.width, header.channels)


def test_a_long_run_of_blanks_takes_no_time() -> None:
    with pytest.raises(Refused):
        opened(b"P5" + b" " * 100_000 + b"x")


def test_errors_name_the_file_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="missing"):
        decode(tmp_path / "nowhere.png")
    (tmp_path / "page.jpg").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ImageError) as error:
        probe(tmp_path / "page.jpg")
    assert error.value.reason == "not_an_image"
    assert error.value.path == str(tmp_path / "page.jpg")


def test_displayed_stretches_deep_pictures_to_their_own_range() -> None:
    shown = displayed(np.array([[[1000], [3000], [5000]]], np.uint16))
    assert shown.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    assert displayed(np.full((2, 2, 5), 7, np.float32)).shape == (2, 2, 3)
    np.testing.assert_array_equal(displayed(NOISE), NOISE)
