"""What JPEG, PNG and WebP files say about themselves before a pixel is decoded, and their bytes without metadata.

Metadata is where the bombs and the broken bytes are (compressed text, colour profiles, EXIF, XMP), and pixels do not
need it. So the containers are walked here, the orientation is kept, and the decoder is given the rest.
Sources: ITU-T T.81 annex B (JPEG), W3C PNG third edition section 5, RFC 9649 (WebP), EXIF 2.32 section 4.6.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from selfsight.data.decode.formats import Refused

MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, each one walks every block again
ORIENTATION = 0x0112  # EXIF tag
PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
JPEG_KEPT = (0xE0, 0xEE)  # of the application segments: JFIF, and Adobe's (which says whether CMYK is inverted)
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the SOF markers
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # and not a part of a scan


@dataclass(frozen=True)
class Container:
    """Stored size in pixels (before `orientation`, EXIF 1..8, is undone) and the bytes that a decoder may see."""

    width: int
    height: int
    depth: int  # bits of one channel
    channels: int  # as stored, a transparency channel included
    orientation: int
    data: bytes


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1..8; anything broken or out of range is 1 (upright)."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 10:
        return 1
    start = struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return 1
    count = struct.unpack_from(order + "H", exif, start)[0]
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, at)
        if tag == ORIENTATION:
            value = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, at + 8)[0]
            return int(value) if 1 <= value <= 8 else 1
    return 1


def png(data: bytes) -> Container:
    """Walk the chunks and check every CRC that matters; text, profiles, EXIF and later frames are left out."""
    kept, turned, at = [data[:8]], 1, 8
    kind = b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise Refused("truncated", "the file ends inside the PNG chunks")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise Refused("truncated", f"the file ends inside chunk {kind!r}")
        if kind in PNG_KEPT:
            if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise Refused("corrupt", f"wrong checksum in chunk {kind!r}")
            kept.append(data[at:end])
        elif kind == b"eXIf":
            turned = orientation(data[at + 8 : end - 4])
        at = end
    return _png_header(kept, turned)


def _png_header(kept: list[bytes], turned: int) -> Container:
    if kept[1][4:8] != b"IHDR" or len(kept[1]) != 25:
        raise Refused("corrupt", "the PNG does not begin with its header")
    width, height, depth, colour = struct.unpack_from(">IIBB", kept[1], 8)
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour)
    if channels is None:
        raise Refused("corrupt", f"PNG colour type {colour}")
    return Container(width, height, depth, channels, turned, b"".join(kept))


def jpeg(data: bytes) -> Container:
    """Walk the segments up to the first scan; EXIF, XMP, colour profiles and comments are left out."""
    kept, turned, frame, at = [data[:2]], 1, b"", 2
    while True:
        marker, at, end = _segment(data, at)
        if marker == START_OF_SCAN:
            break
        if marker in JPEG_FRAMES:
            frame = data[at + 4 : end]
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            turned = orientation(data[at + 4 : end])
        if marker in JPEG_KEPT or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at:end])
        at = end
    if len(frame) < 6:
        raise Refused("corrupt", "the JPEG has no frame header")
    if data.count(b"\xff\xda", at) > MAX_SCANS and _scans(data, at) > MAX_SCANS:
        raise Refused("corrupt", f"more than {MAX_SCANS} scans")
    depth, height, width, channels = struct.unpack_from(">BHHB", frame)
    return Container(width, height, depth, channels, turned, b"".join([*kept, data[at:]]))


def _scans(data: bytes, at: int) -> int:
    """How many scans there are from `at` to the end of the picture: what lies behind, as a phone's video, are none."""
    count = 0
    while (found := JPEG_MARKER.search(data, at)) and found[0][1] != END_OF_IMAGE:
        count += found[0][1] == START_OF_SCAN
        length = 0 if found[0][1] in JPEG_ALONE else int.from_bytes(data[found.end() : found.end() + 2], "big")
        at = found.end() + length
    return count


def _segment(data: bytes, at: int) -> tuple[int, int, int]:
    """Marker, start and end of the JPEG segment at `at`, fill bytes passed over."""
    while data[at : at + 2] == b"\xff\xff":
        at += 1
    if at + 4 > len(data) or data[at + 1] == END_OF_IMAGE:
        raise Refused("truncated", "the file ends before the picture begins")
    marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
    alone = marker in JPEG_ALONE
    if data[at] != 0xFF or (length < 2 and not alone):
        raise Refused("corrupt", "the JPEG segments are broken")
    return marker, at, at + 2 if alone else at + 2 + length


def webp(data: bytes) -> Container:
    """Size of the canvas and orientation; the bytes stay as they are."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(data) < 30:
        raise Refused("truncated", "the file is shorter than its header says")
    kind = data[12:16]
    if kind == b"VP8X":
        alpha = bool(data[20] & 0x10)
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(data[i : i + 2], "little") & 0x3FFF for i in (26, 28))
        alpha = False
    else:
        raise Refused("corrupt", f"the WebP begins with {kind!r}")
    return Container(width, height, 8, 3 + alpha, _webp_orientation(data), data)


def _webp_orientation(data: bytes) -> int:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return 1
