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


EXTRA = {"photometric": "rgb", "extrasamples": ["unspecified"]}
SHIFTED = DEEP[..., :1].astype(np.int32) - 40_000
CLIPPED = {  # by Pillow, were it let
    "float": (NOISE[..., :1].astype(np.float32) / 255, {}),
    "float, predicted": (NOISE[..., :1].astype(np.float32) / 255, {"predictor": True}),
    "int16": (SHIFTED.clip(-32768, 32767).astype(np.int16), {}),
    "int32": (SHIFTED, {}),
    "uint32": (NOISE[..., :1].astype(np.uint32) * 1000, {}),
    "signed bytes": (NOISE[..., :1].view(np.int8), {}),
    "16-bit colour": (DEEP, {"photometric": "rgb"}),
    "16-bit near infrared": (np.tile(DEEP, 2)[..., :4], EXTRA),
    "near infrared": (np.tile(NOISE, 2)[..., :4], EXTRA),
    "white is zero": (DEEP[..., :1], {"photometric": "miniswhite"}),
}


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("way", ["lzw", "packbits", "zstd", "zlib"])
def test_no_bit_and_no_channel_of_a_compressed_tiff_is_lost(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With imagecodecs it is read, without it refused; header and pixels alike."""
    array, options = CLIPPED[name]
    data = tiff(array, compression=way, **{"photometric": "minisblack", **options})
    right = 65535 - array if name == "white is zero" else array
    header, found = describe(data), opened(data)
    np.testing.assert_array_equal(found, right)
    assert found.dtype == (right.dtype if right.dtype in (np.uint8, np.uint16) else np.float32)
    assert (header.channels, header.dtype) == (found.shape[2], found.dtype.name)
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", dict.fromkeys((1, 8, 32946)))
    monkeypatch.setattr(tifffile.TIFF, "UNPREDICTORS", dict.fromkeys((1, 2)))
    if way != "zlib" or "predictor" in options:
        for read in (describe, opened):
            with pytest.raises(Refused, match=r"unsupported_codec.*pip install 'selfsight\[formats\]'"):
                read(data)


def test_what_pillow_keeps_is_read_without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", dict.fromkeys((1, 8, 32946)))
    for array in (NOISE, NOISE[..., :1], DEEP[..., :1]):
        kind = "rgb" if array.shape[2] == 3 else "minisblack"
        np.testing.assert_array_equal(opened(tiff(array, compression="lzw", photometric=kind)), array)


@pytest.mark.parametrize("magic", ["P2", "P3"])
def test_deep_numbers_in_plain_text_are_refused(magic: str) -> None:
    """Pillow would clip the one and scale the other."""
    data = f"{magic} 1 1 {{}}\n{'200 ' * (3 if magic == 'P3' else 1)}\n"
    assert (opened(data.format(255).encode()) == 200).all()
    for read in (describe, opened):
        with pytest.raises(Refused, match="unsupported_codec"):
            read(data.format(4095).encode())


@pytest.mark.parametrize(("told", "kind"), [("-9999", np.int16), ("-3.4028234663852886e+38", np.float32)])
def test_pixels_without_data_are_refused_by_name(told: str, kind: type) -> None:
    array = NOISE[..., 0].astype(kind)
    tags = {"photometric": "minisblack", "extratags": [(42113, "s", 0, told, True)]}
    np.testing.assert_array_equal(opened(tiff(array, **tags))[..., 0], NOISE[..., 0])
    array[3, 4] = float(told)
    with pytest.raises(Refused, match=r"non_finite_pixels.*no data"):
        opened(tiff(array, **tags))
    opened(tiff(array, photometric="minisblack"))


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


def test_the_hidden_grey_of_a_16_bit_png_is_white() -> None:
    hidden = int(DEEP[0, 0, 0])
    found = opened(saved(DEEP[..., 0], "PNG", transparency=hidden))
    np.testing.assert_array_equal(found, np.where(DEEP[..., :1] == hidden, 65535, DEEP[..., :1]))


def test_an_opacity_without_full_scale_is_a_channel() -> None:
    array = SHIFTED.repeat(2, axis=2)
    data = tiff(array, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(opened(data), array)
    assert describe(data).channels == 2


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


def test_what_lies_behind_a_jpeg_is_no_scan_of_it() -> None:
    """Phones put a video there, in which two bytes look like a scan every 65,536."""
    photo = saved(NOISE, "JPEG", quality=90, progressive=True)
    assert np.array_equal(opened(photo + b"\xff\xda\0\x08video" * 300), opened(photo))
    last = photo[photo.rindex(b"\xff\xda") : -2]
    hidden = b"\xff\xfe\0\x06\xff\xd9\xff\xd9"  # a comment that looks like the end
    with pytest.raises(Refused, match="more than 100 scans"):
        opened(photo[:-2] + hidden + last * 101 + photo[-2:])


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
