"""Decoded pictures in a memory-mapped file, so that an epoch after the first decodes nothing where they fit.

Each picture keeps its dtype, and its size unless it is halved. The file is named by the digests of the pictures
and their format, so runs on the same pictures share it, also at the same time: whoever decodes a picture writes the
same bytes to the same place, and then their checksum, without which a place is empty. Bytes are written by pwrite,
since a mapped page on a full disk would end the process.
"""

from __future__ import annotations

import math
import mmap
import os
import zlib
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np

from selfsight.data import cache
from selfsight.data.halving import shapes
from selfsight.data.manifest import Manifest
from selfsight.data.ranges import PixelFormat

__all__ = ["Canvases", "planned"]

MARK = np.dtype("<u4")  # of each picture, in front of all pixels: CRC-32, or 0 where it is not here
PAGE = 4096
LAYOUT = 3  # to be raised when what `data.decode` makes of a file changes


class Canvases:
    """Pictures by row. Safe to use from several threads and processes. Without `begin` only a file that is there."""

    def __init__(
        self, manifest: Manifest, format: PixelFormat, least: int | None = None, *, begin: bool = True
    ) -> None:
        self._manifest, self._channels, self._format = manifest, format.channels, np.dtype(format.dtype)
        self._heights, self._widths = shapes(manifest.heights, manifest.widths, least)
        self._starts = _starts(manifest, format, least)
        self._known: set[int] = set()  # rows that were written here, or whose checksum was right
        self._end, self._handle = 0, -1
        self._bytes: np.ndarray | None = None  # of the file, where it can be mapped
        with suppress(OSError):
            file = cache.folder() / _name(manifest, format, least)
            if begin or file.exists():
                self._open(file)

    def _open(self, file: Path) -> None:
        whole, there = int(self._starts[-1]), 0
        with suppress(FileNotFoundError):
            there = file.stat().st_blocks * cache.BLOCK
            os.utime(file)
        self._end = there + cache.room(max(0, whole - there))
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._handle).st_size < whole:
            os.ftruncate(self._handle, whole)
        pixels = np.frombuffer(mmap.mmap(self._handle, whole, prot=mmap.PROT_READ), np.uint8)
        self._marks, self._bytes = pixels[: MARK.itemsize * len(self._manifest)].view(MARK), pixels

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def get(self, row: int) -> np.ndarray | None:
        """The picture of a row, if it is here. Nobody can write to it."""
        if self._bytes is None:
            return None
        start, shape = self._starts[row], self._shape(row)
        pixels = self._bytes[start : start + math.prod(shape) * self._format.itemsize]
        if row not in self._known:
            if (mark := self._marks[row]) == 0 or mark != _mark(pixels):
                return None
            self._known.add(row)
        return pixels.view(self._format).reshape(shape)

    def keep(self, row: int, picture: np.ndarray) -> None:
        """Keep it where there is room. Raises OSError when the disk is full after all, and then keeps nothing more."""
        fits = picture.shape == self._shape(row) and picture.dtype == self._format
        if self._bytes is None or not fits or self._starts[row + 1] > self._end:
            return
        pixels = np.ascontiguousarray(picture)
        try:
            if os.pwrite(self._handle, pixels.data, int(self._starts[row])) == pixels.nbytes:
                os.pwrite(self._handle, _mark(pixels).to_bytes(4, "little"), row * MARK.itemsize)
                self._known.add(row)
        except OSError:
            self._end = 0
            raise

    def _shape(self, row: int) -> tuple[int, int, int]:
        return int(self._heights[row]), int(self._widths[row]), self._channels


def planned(manifest: Manifest, format: PixelFormat, least: int | None = None) -> str:
    """For the plan: how much is kept, and where; or why not."""
    place, whole = cache.folder(), int(_starts(manifest, format, least)[-1])
    try:
        file, there = place / _name(manifest, format, least), 0
        with suppress(FileNotFoundError):
            os.utime(file)  # soon it is opened: it is not what makes room
            there = file.stat().st_blocks * cache.BLOCK
        fits = there + cache.room(max(0, whole - there))
    except OSError as error:
        return f"not kept, {str(place)!r} cannot be written ({error.strerror})"
    part = "all" if fits >= whole else f"the first {fits / whole:.0%}"
    return f"kept, {whole / 1e6:,.0f} MB and room for {part} in {str(place)!r}, at most half of what its disk has free"


def _starts(manifest: Manifest, format: PixelFormat, least: int | None) -> np.ndarray:
    """Where each row's pixels begin, each in pages of its own, and where all end."""
    head = MARK.itemsize * len(manifest)
    heights, widths = shapes(manifest.heights, manifest.widths, least)
    sizes = heights * widths * (format.channels * np.dtype(format.dtype).itemsize)
    pages = -(-np.concatenate([[head], sizes]) // PAGE)
    found: np.ndarray = np.cumsum(pages) * PAGE
    return found


def _name(manifest: Manifest, format: PixelFormat, least: int | None) -> str:
    decoders = [version(name) for name in ("pillow", "opencv-python-headless", "tifffile")]
    digest = blake2b(repr((LAYOUT, format, least, decoders)).encode(), digest_size=16)
    for one in manifest.digests:
        digest.update(one.encode())
    return f"canvases-{digest.hexdigest()}"


def _mark(pixels: np.ndarray) -> int:
    """CRC-32, never 0."""
    return zlib.crc32(pixels.data) or 1
