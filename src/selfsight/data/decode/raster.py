"""From the bytes of one picture to its header and its pixels.

Pillow decodes everything of 8 bits, and 16-bit grey; OpenCV decodes 16-bit colour PNG, where Pillow would drop half the
bits, from bytes whose checksums have been verified; `tiff` decodes TIFF of any depth.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFile

from selfsight.data.decode import containers, tiff
from selfsight.data.decode.formats import Refused
from selfsight.data.halving import halved, halvings

MAX_PIXELS = 89_478_485  # a quarter of a GiB as 8-bit RGB: the limit above which Pillow warns
GREY_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "I;16": "I;16", "I;16B": "I;16B", "I;16L": "I;16L"}
DCT_HALVINGS = 3  # that libjpeg can do
LOSSY_TIFF = (
    "a TIFF of more than 8 bits or with more channels than colours, so compressed; save it without compression, or: "
    "pip install 'selfsight[formats]'"
)
WALKERS = {"png": containers.png, "jpeg": containers.jpeg, "webp": containers.webp}
PILLOW = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "pnm": "PPM", "tiff": "TIFF"}
PNM_HEADER = re.compile(rb"P[2356]" + rb"(?:\s|#[^\n]*\n)+(\d{1,10})" * 3 + rb"\s")
# What decoders are seen to raise on damaged bytes; MemoryError is not among them, it says nothing about the file.
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError),
    *(ValueError, Warning, cv2.error, struct.error, zlib.error),
)


@dataclass(frozen=True)
class Header:
    """What `decode` will give, and the format of the file; width and height in pixels, once upright."""

    width: int
    height: int
    channels: int
    dtype: str  # uint8, uint16 or float32
    format: str


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes Refused."""
    try:
        yield
    except DAMAGE as error:
        ended = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise Refused("truncated" if ended else "corrupt", str(error)) from error


@_refusing()
def header(kind: str, data: bytes) -> Header:
    """Describe a picture of this format without decoding it. Raises Refused."""
    page = None
    if kind == "tiff":
        page = tiff.first_page(data)
        _check_size(page.imagewidth, page.imagelength)
        if tiff.readable(page):
            return _upright(page.imagewidth, page.imagelength, *tiff.kind(page), "tiff", tiff.turned(page))
    if kind in WALKERS:
        box = WALKERS[kind](data)
        _check_size(box.width, box.height)
        channels = 1 if box.channels < 3 else 3
        return _upright(box.width, box.height, channels, "uint16" if box.depth > 8 else "uint8", kind, box.orientation)
    if deep := _deep_pnm(data):
        height, width, channels = deep
        return Header(width, height, channels, "uint16", kind)
    image = _open(kind, data, page)
    deep_grey = image.mode.startswith("I;16")
    return _upright(
        *image.size,
        1 if image.mode in GREY_MODES else 3,
        "uint16" if deep_grey else "uint8",
        kind,
        _turned(kind, image),
    )


@_refusing()
def pixels(kind: str, data: bytes, least: int | None = None) -> np.ndarray:
    """Decode a picture of this format: (H, W, C) uint8, uint16 or float32, upright, without alpha. Raises Refused.

    With `least` it is halved as `halving.halved` says; of a JPEG the decoder does it, up to three times, which for a
    photograph of 12 megapixels takes a tenth of the time and is half a grey level from it.
    """
    turned, array, premultiplied, page = 1, None, False, None
    if kind == "tiff":
        page = tiff.first_page(data)
        _check_size(page.imagewidth, page.imagelength)
        premultiplied = tiff.premultiplied(page)
        if tiff.readable(page):
            array = tiff.pixels(page)
            array, turned = _opaque(array, premultiplied) if tiff.alpha(page) else array, tiff.turned(page)
    elif kind in WALKERS:
        box = WALKERS[kind](data)
        _check_size(box.width, box.height)
        data, turned = box.data, box.orientation
        if kind == "png" and box.depth == 16 and box.channels > 1:
            array = _deep_png(data, box.channels)
    elif deep := _deep_pnm(data):
        array = _deep_pnm_pixels(data, deep)
    if array is None:
        image = _open(kind, data, page)
        turned = turned if kind in WALKERS else _turned(kind, image)
        array = _load(image, premultiplied, least if kind == "jpeg" else None)
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise Refused("non_finite_pixels", "NaN or infinite values")
    array = np.ascontiguousarray(upright(array, turned))
    return array if least is None else halved(array, least)


@_refusing()
def indices(kind: str, data: bytes) -> np.ndarray:
    """What is stored for each pixel, (H, W) where that is one number: of a palette, the place in it. Raises Refused."""
    if kind != "tiff":
        image = _open(kind, WALKERS[kind](data).data if kind in WALKERS else data)
        if image.mode in ("1", "L", "P") or image.mode.startswith("I;16"):
            return np.asarray(image)
    array = pixels(kind, data)
    return array[..., 0] if array.shape[2] == 1 else array


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1..8 (EXIF 2.32, table 6): (H, W, C) -> (H, W, C) or (W, H, C)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


def _upright(width: int, height: int, channels: int, dtype: str, kind: str, orientation: int) -> Header:
    if orientation >= 5:
        width, height = height, width
    return Header(width, height, channels, dtype, kind)


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise Refused("corrupt", f"{width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise Refused("too_many_pixels", f"{width} x {height}, more than {MAX_PIXELS}; cut it into tiles")


def _open(kind: str, data: bytes, page: Any = None) -> ImageFile.ImageFile:
    """Read the header with Pillow; the size is checked before and after, and no pixel is allocated.

    Of a TIFF the `page` is checked too: Pillow would clip some in silence.
    """
    if kind == "gif" and len(data) >= 10:
        _check_size(*struct.unpack_from("<HH", data, 6))
    if kind == "bmp" and len(data) >= 26 and data[14] >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
        _check_size(width, abs(height))
    try:
        image = Image.open(BytesIO(data), formats=[PILLOW.get(kind, "AVIF")])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused("too_many_pixels", str(error)) from error
    except DAMAGE as error:
        if kind == "tiff":
            raise Refused("unsupported_codec", "TIFF compression; try: pip install 'selfsight[formats]'") from error
        raise Refused("truncated", "the file ends inside its header, or the header is broken") from error
    _check_size(*image.size)
    if page is not None and not tiff.kept(page, image.mode, image.getbands()):
        raise Refused("unsupported_codec", LOSSY_TIFF)
    return image


def _turned(kind: str, image: Image.Image) -> int:
    """Orientation that is still to be undone; Pillow turns TIFF by itself."""
    exif = image.info.get("exif", b"")
    return 1 if kind == "tiff" or not isinstance(exif, bytes) else containers.orientation(exif)


def _load(image: ImageFile.ImageFile, premultiplied: bool, least: int | None) -> np.ndarray:
    """Decode with Pillow: grey stays one channel, everything else becomes RGB, transparency is laid on white."""
    width, height = image.size
    if least is not None and (times := min(DCT_HALVINGS, int(halvings(np.minimum(width, height), least)))):
        width, height = width >> times, height >> times
        image.draft(None, (width, height))
    if premultiplied and image.mode in ("RGBA", "La"):  # read as it is stored: Pillow would divide, and round
        tiles = [(tile, tile.args) for tile in image.tile if isinstance(tile.args, tuple)]
        image.tile = [tile._replace(args=(raw.replace("RGBa", "RGBA"), *more)) for tile, (raw, *more) in tiles]
        return _opaque(np.asarray(image), premultiplied)
    image.load()
    grey = image.mode in GREY_MODES
    if image.has_transparency_data and not image.mode.startswith("I;16"):
        return _opaque(np.asarray(image.convert("LA" if grey else "RGBA")))
    array = np.asarray(image.convert(GREY_MODES[image.mode] if grey else "RGB"))[:height, :width]
    array = array[..., None] if array.ndim == 2 else array
    if grey and array.dtype != np.uint8:
        array = array.astype(np.uint16)
        array[array == image.info.get("transparency", -1)] = np.iinfo(np.uint16).max  # PNG's tRNS: one grey is hidden
    return array


def _opaque(array: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """Lay a picture (H, W, C + 1), whose last channel is its opacity, on white: (H, W, C) of the same dtype."""
    full = np.float32(np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1)
    opacity = array[..., -1:].astype(np.float32) / full
    mixed = (array[..., :-1] if premultiplied else array[..., :-1] * opacity) + full * (1 - opacity)
    rounded: np.ndarray = np.minimum(mixed, full) + 0.5 if array.dtype.kind == "u" else mixed
    return rounded.astype(array.dtype)


def _deep_png(data: bytes, channels: int) -> np.ndarray:
    """A 16-bit PNG with 2, 3 or 4 channels, from verified bytes: (H, W, 1 or 3) uint16."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3 or decoded.dtype != np.uint16:
        raise Refused("corrupt", "the pixels of the PNG do not decode")
    array: np.ndarray = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]]  # OpenCV gives BGR and BGRA
    array = _opaque(array) if array.shape[2] == 4 else array
    return array[..., :1] if channels == 2 else array


def _deep_pnm(data: bytes) -> tuple[int, int, int] | None:
    """Height, width and channels of a binary PGM or PPM of more than 8 bits; None for anything else.

    Raises Refused for one in plain text, whose values Pillow would scale or clip.
    """
    match = PNM_HEADER.match(data)
    if match is None or int(match[3]) < 256:
        return None
    if data[1:2] in b"23":
        raise Refused("unsupported_codec", "a PNM in plain text of more than 8 bits; save it as PNG or TIFF")
    _check_size(int(match[1]), int(match[2]))
    return int(match[2]), int(match[1]), 3 if data[1:2] == b"6" else 1


def _deep_pnm_pixels(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    match = PNM_HEADER.match(data)
    start, count = match.end() if match else 0, shape[0] * shape[1] * shape[2]
    if start + 2 * count > len(data):
        raise Refused("truncated", "the file ends inside the pixels")
    return np.frombuffer(data, ">u2", count, start).reshape(shape).astype(np.uint16)
