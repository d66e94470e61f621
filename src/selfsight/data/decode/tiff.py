"""The first page of a TIFF, with as many channels and as many bits as it holds.

tifffile reads plain and deflated pages of 8 to 64 bits, any number of channels; Pillow's libtiff reads the other 8-bit
compressions and colour spaces (see `raster`). Source: TIFF 6.0; extra samples: its section 18.
"""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import tifffile

from selfsight.data.decode.formats import Refused

PLAIN, DEFLATE = 1, (8, 32946)  # values of the tag Compression
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # values of the tag PhotometricInterpretation
DNG_VERSION, ORIENTATION = 50706, 274  # tags
PREMULTIPLIED, STRAIGHT = 1, 2  # values of the tag ExtraSamples: transparencies
KEPT = ("uint8", "uint16")  # other kinds of number become float32
MAX_BYTES = 1 << 30  # of one page's pixels
MOST_DEFLATED = 1032  # bytes that one byte of deflate can become (zlib, technical details)

# tifffile prints what it finds odd; what matters is raised here, and a folder may hold a thousand odd files.
tifffile.logger().setLevel("CRITICAL")


def first_page(data: bytes) -> Any:
    """The first page (tifffile.TiffPage), its size checked; later pages are never looked at, so no loop of them."""
    page = tifffile.TiffFile(BytesIO(data)).pages.first
    if DNG_VERSION in page.tags:
        raise Refused("unsupported_codec", "camera raw (DNG); convert it to TIFF, PNG or JPEG")
    if any(start + length > len(data) for start, length in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise Refused("truncated", "the file ends inside the pixels")
    return page


def turned(page: Any) -> int:
    """EXIF orientation, 1..8."""
    value = page.tags.valueof(ORIENTATION, 1)
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def readable(page: Any) -> bool:
    """Whether `pixels` reads this page; otherwise Pillow's libtiff is asked."""
    return (
        page.compression in (PLAIN, *DEFLATE)
        and page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        and page.dtype is not None
        and page.dtype.kind in "uif"
        and page.bitspersample in (8, 16, 32, 64)
    )


def alpha(page: Any) -> bool:
    """Whether the last channel is a transparency."""
    colours = 3 if page.photometric == RGB else 1
    extra: tuple[int, ...] = tuple(page.extrasamples or ())
    return page.samplesperpixel == colours + 1 and len(extra) == 1 and int(extra[0]) in (PREMULTIPLIED, STRAIGHT)


def premultiplied(page: Any) -> bool:
    """Whether its colours were multiplied by their opacity, the last channel."""
    return alpha(page) and int(page.extrasamples[0]) == PREMULTIPLIED


def kind(page: Any) -> tuple[int, str]:
    """Channels and dtype that `pixels` followed by the compositing of alpha will give."""
    name = page.dtype.name if page.dtype.name in KEPT else "float32"
    return page.samplesperpixel - alpha(page), name


def pixels(page: Any) -> np.ndarray:
    """Pixels (H, W, S), uint8, uint16 or float32, a transparency channel included. Raises Refused."""
    if page.nbytes > MAX_BYTES:
        raise Refused("too_many_bytes", f"{page.nbytes} bytes of pixels, more than {MAX_BYTES}")
    deflated = page.compression in DEFLATE
    stored = sum(page.databytecounts) * (MOST_DEFLATED if deflated else 1)
    if stored < page.nbytes or len(page.dataoffsets) < math.prod(page.chunked):
        raise Refused("truncated", "fewer pixels than the header says")
    if deflated:
        _check_inflated(page)
    planes = page.asarray(squeeze=False)  # (S or 1, depth, H, W, S or 1)
    if planes.ndim != 5 or planes.shape[1] != 1:
        raise Refused("unsupported_codec", "a volume; save its slices as pictures")
    array = np.concatenate(list(planes[:, 0]), axis=-1)  # planar and interleaved channels look alike from here on
    if page.photometric == WHITE_IS_ZERO and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is refused by name
        return array if array.dtype.name in KEPT else array.astype(np.float32)


def _check_inflated(page: Any) -> None:
    """Refuse strips that inflate to more than the page can hold: zlib in tifffile has no limit of its own."""
    stream = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        stream.seek(offset)
        inflater = zlib.decompressobj()
        inflater.decompress(stream.read(count), MAX_BYTES // 8)
        if inflater.unconsumed_tail:
            raise Refused("corrupt", "a strip inflates without end")
