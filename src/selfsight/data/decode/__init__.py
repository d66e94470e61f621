"""The one image opener: from a path to an array, for training, embedding, inspecting and serving alike.

Formats: PNG, JPEG, WebP, AVIF, GIF, BMP, PBM/PGM/PPM and TIFF; of several frames or pages, the first. The content
decides, never the name. Pictures are turned upright by their EXIF orientation; transparent pixels are laid on white;
CMYK and palettes become RGB; 1-bit becomes grey 0 and 255. Values are as stored: nothing is scaled or clipped here.
Pixels are decoded in a process of their own (see `contained`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np

from selfsight.data import shards
from selfsight.data.decode import contained
from selfsight.data.decode.formats import LONGEST_MAGIC, Refused, sniff
from selfsight.data.decode.raster import MAX_PIXELS, Header, header, pixels
from selfsight.errors import ImageError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "Header", "Refused", "decode", "describe", "displayed", "opened", "probe", "read"]
__all__ += ["unguarded"]

MAX_BYTES = 1 << 30  # of a file; larger ones are refused unread
ERRORS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ELOOP: "symlink_loop",
    errno.ENXIO: "special_file",  # a socket
    errno.EISDIR: "special_file",
}


def decode(path: str | Path) -> np.ndarray:
    """Decode one picture: (H, W, C), uint8, uint16 or float32; grey has C = 1, colour 3, an N-channel TIFF N.

    Raises ImageError with a `reason` of `selfsight.data.decode.formats`.
    """
    try:
        return opened(read(str(path)))
    except Refused as refused:
        raise ImageError(str(path), refused.reason, refused.detail) from refused


def opened(data: bytes, least: int | None = None) -> np.ndarray:
    """Decode one picture from the bytes of its file, halved while both sides stay `least` pixels. Raises Refused."""
    return contained.pixels(sniff(data[:LONGEST_MAGIC]), data, least)


def unguarded(data: bytes, least: int | None = None) -> np.ndarray:
    """The same in this process: for bytes that were decoded before, and for processes that may die. Raises Refused."""
    return pixels(sniff(data[:LONGEST_MAGIC]), data, least)


def probe(path: str | Path) -> Header:
    """Describe one picture from its header: nothing of the picture's size is allocated. Raises ImageError."""
    try:
        return describe(read(str(path)))
    except Refused as refused:
        raise ImageError(str(path), refused.reason, refused.detail) from refused


def describe(data: bytes) -> Header:
    """Describe a picture from the bytes of its file. Raises Refused."""
    kind = sniff(data[:LONGEST_MAGIC])
    return contained.header(kind, data) if kind == "avif" else header(kind, data)  # the others are walked in Python


def read(path: str, check: Callable[[bytes], object] = sniff) -> bytes:
    """The bytes of a regular file, or of a picture in a shard, whose beginning passes `check`.

    Never waits on a pipe or a device. Raises Refused, and AddressError where a shard's address does not answer.
    """
    if (place := shards.at(path)) is not None:
        return _packed(place, check)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        number = error.errno if isinstance(error, OSError) else errno.ENOENT
        raise Refused(ERRORS.get(number or 0, "unreadable"), str(error)) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)  # before Python opens it: of a folder it would make no file
        raise Refused("special_file", "not a regular file")
    with os.fdopen(handle, "rb") as file:
        try:
            head = file.read(LONGEST_MAGIC)
            check(head)
            if status.st_size > MAX_BYTES:
                raise Refused("too_many_bytes", f"{status.st_size} bytes, more than {MAX_BYTES}")
            return head + file.read()
        except OSError as error:
            raise Refused("unreadable", str(error)) from error


def displayed(array: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Make a picture (H, W, C) fit to be looked at: (H, W, 3) uint8.

    More than 8 bits are scaled from low..high (default: the picture's own range) to 0..255. Grey is replicated; of two
    channels the first, of more than three the first three are shown.
    """
    shown = array[..., :3] if array.shape[2] >= 3 else array[..., :1]
    if shown.dtype != np.uint8:
        low = float(shown.min()) if low is None else low
        high = float(shown.max()) if high is None else high
        scaled = (shown.astype(np.float64) - low) / (high - low if high > low else 1.0)
        shown = (scaled.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def _packed(place: shards.Place, check: Callable[[bytes], object]) -> bytes:
    if place.length > MAX_BYTES:
        raise Refused("too_many_bytes", f"{place.length} bytes, more than {MAX_BYTES}")
    try:
        data = shards.read(place)
    except shards.Broken as broken:
        raise Refused(broken.reason, broken.detail) from broken
    except OSError as error:
        raise Refused(ERRORS.get(error.errno or errno.ENOENT, "unreadable"), str(error)) from error
    check(data[:LONGEST_MAGIC])
    return data
