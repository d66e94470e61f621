"""Class numbers from the file of a mask: one integer for each pixel, and nothing done to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from selfsight.data import decode
from selfsight.data.decode import contained
from selfsight.data.decode.formats import LONGEST_MAGIC, Refused, sniff
from selfsight.errors import DataError

__all__ = ["numbers"]

LOSSY = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}


def numbers(path: str | Path) -> Shaped[np.ndarray, "H W"]:
    """The number of each pixel: grey values as stored, of a palette the place in it, of 1-bit files false and
    true.

    Raises DataError for colour pictures, formats that change values, and files that cannot be read.
    """
    try:
        data = decode.read(str(path))
        kind = sniff(data[:LONGEST_MAGIC])
        array = contained.indices(kind, data) if kind not in LOSSY else None
    except Refused as refused:
        raise DataError(f"the mask {str(path)!r} cannot be read ({refused}); save it as PNG again") from refused
    if array is None:
        raise DataError(f"the mask {str(path)!r} is {LOSSY[kind]}, which changes class numbers; save it as PNG")
    if array.ndim != 2 or array.dtype.kind not in "uib":
        what = "is a colour picture" if array.ndim != 2 else "holds numbers of another kind than 8 or 16 bits have"
        raise DataError(f"the mask {str(path)!r} {what}; give one integer for each pixel, grey or by a palette, as PNG")
    return array
