"""The first page of a TIFF, with as many channels and as many bits as it holds.

tifffile reads plain and deflated pages of 8 to 64 bits, any number of channels; with imagecodecs it reads more
compressions. Pillow's libtiff reads these of 8 bits, and other colour spaces (see `raster`); what it would clip, cut to
8 bits or leave channels of away is refused. Sources: TIFF 6.0, extra samples in its section 18; GDAL's GeoTIFF driver.
"""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from PIL.TiffImagePlugin import COMPRESSION_INFO

from selfsight.data.decode.formats import Refused

PLAIN, DEFLATE = 1, (8, 32946)  # values of the tag Compression
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # values of the tag PhotometricInterpretation
DNG_VERSION, ORIENTATION, GDAL_NODATA = 50706, 274, 42113  # tags
SIGNED = 2  # value of the tag SampleFormat
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
    """Whether `pixels` reads this page; otherwise Pillow's libtiff is asked, and `kept` whether it keeps everything."""
    return (
        page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        and page.dtype is not None
        and page.dtype.kind in "uif"
        and page.bitspersample in (8, 16, 32, 64)
        and (page.compression in (PLAIN, *DEFLATE) or not _usual(page))
        and page.compression in tifffile.TIFF.DECOMPRESSORS
        and page.predictor in tifffile.TIFF.UNPREDICTORS
    )


def _usual(page: Any) -> bool:
    """Whether Pillow keeps everything, with or without imagecodecs: 8 bits, grey or colour, a compression it knows."""
    plain = page.dtype.name == "uint8" and page.samplesperpixel - alpha(page) in (1, 3)
    return plain and page.compression in COMPRESSION_INFO


def kept(page: Any, mode: str, bands: tuple[str, ...]) -> bool:
    """Whether Pillow, which opens this page in this mode, keeps all its bits and channels, and what they mean."""
    if np.max(page.bitspersample) > 8:
        return mode.startswith("I;16") and page.photometric == BLACK_IS_ZERO
    colours = len(bands) - (bands[-1] in "Aa")
    return bool(page.sampleformat != SIGNED and page.samplesperpixel - alpha(page) == colours)


def alpha(page: Any) -> bool:
    """Whether the last channel is a transparency; signed and wider integers have no full scale that would be opaque."""
    colours = 3 if page.photometric == RGB else 1
    extra: tuple[int, ...] = tuple(page.extrasamples or ())
    scaled = page.dtype is not None and (page.dtype.name in KEPT or page.dtype.kind == "f")
    alone = page.samplesperpixel == colours + 1 and len(extra) == 1
    return scaled and alone and int(extra[0]) in (PREMULTIPLIED, STRAIGHT)


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
    most = MOST_DEFLATED if deflated else 1 if page.compression == PLAIN else page.nbytes
    if sum(page.databytecounts) * most < page.nbytes or len(page.dataoffsets) < math.prod(page.chunked):
        raise Refused("truncated", "fewer pixels than the header says")
    if deflated:
        _check_inflated(page)
    planes = page.asarray(squeeze=False)  # (S or 1, depth, H, W, S or 1)
    if planes.ndim != 5 or planes.shape[1] != 1:
        raise Refused("unsupported_codec", "a volume; save its slices as pictures")
    array = np.concatenate(list(planes[:, 0]), axis=-1)  # planar and interleaved channels look alike from here on
    if page.photometric == WHITE_IS_ZERO and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    if array.dtype.name in KEPT:
        return array
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is refused by name
        array, nothing = array.astype(np.float32), np.float32(_nodata(page))
    if (array == nothing).any():
        raise Refused("non_finite_pixels", f"{nothing:g}, which by its tag GDAL_NODATA stands for no data; fill it")
    return array


def _nodata(page: Any) -> float:
    """The number that stands for no data; NaN, which equals nothing, where none is told."""
    try:
        return float(page.tags.valueof(GDAL_NODATA, "nan"))
    except (TypeError, ValueError):
        return math.nan


def _check_inflated(page: Any) -> None:
    """Refuse strips that inflate to more than the page can hold: zlib in tifffile has no limit of its own."""
    stream = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        stream.seek(offset)
        inflater = zlib.decompressobj()
        inflater.decompress(stream.read(count), MAX_BYTES // 8)
        if inflater.unconsumed_tail:
            raise Refused("corrupt", "a strip inflates without end")
