"""One pixel format for a whole data set: how many channels, how many bits, and the range of values in use.

Measured once on training pictures, kept in the recipe and in the exported encoder; no integer is ever clipped to it.
8-bit sets are 0..255 without looking. Above 8 bits everything becomes uint16: an 8-bit picture times 257 (255 ->
65535), a float picture quantised over a range twice as wide as the measured one, so that later, brighter ones fit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from selfsight.data.decode import decode
from selfsight.data.manifest import Manifest
from selfsight.data.threads import in_order
from selfsight.errors import DataError, ImageError
from selfsight.recipe import Recipe

FULL = 65535  # largest uint16
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of red, green, blue: ITU-R BT.601
FEW_BITS = 4095  # what 12 bits hold; of 65535 they would be nearly black
MARGIN = 0.5  # of the measured range, added on both sides before floats are quantised
WIDE = 100  # times the median range: of 65536 levels the others are then left with some hundreds
READERS = os.cpu_count() or 1


@dataclass(frozen=True)
class PixelFormat:
    """What `conform` makes of every picture; low..high is the range of values of the training pictures."""

    channels: int = 3
    dtype: str = "uint8"  # or uint16
    low: float = 0.0
    high: float = 255.0
    float_low: float = 0.0  # float pictures: this value becomes 0
    float_high: float = 0.0  # and this one 65535; equal to float_low where no training picture is float


def format_of(recipe: Recipe) -> PixelFormat:
    """The format that a recipe keeps."""
    return kept(recipe.pixels)


def kept(pixels: Mapping[str, Any]) -> PixelFormat:
    """The format among what a recipe keeps of its pixels."""
    return PixelFormat(**{name: value for name, value in pixels.items() if name not in ("mean", "std")})


@dataclass(frozen=True)
class _Range:
    low: float = np.inf
    high: float = -np.inf

    def __or__(self, other: _Range) -> _Range:
        return _Range(min(self.low, other.low), max(self.high, other.high))

    def __bool__(self) -> bool:
        return self.low <= self.high


def measure(
    manifest: Manifest,
    rows: Int[np.ndarray, "T"],
    *,
    channels: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> PixelFormat:
    """Find the format that fits these rows (training rows only); `channels` overrules what they have.

    Pictures of more than 8 bits are decoded for their smallest and largest value; broken ones are passed over. `say` is
    told of a float picture that takes the range from the others. Raises DataError when there are no rows, or when float
    values are so far apart that no range holds them.
    """
    if len(rows) == 0:
        raise DataError("there is no picture to train on; every one is held out or unreadable.")
    channels = channels or _channels(manifest.channels[rows])
    deep = [row for row in rows if manifest.dtypes[row] != "uint8"]
    if not deep:
        return PixelFormat(channels)
    whole, floats, spans = _Range(), _Range(), list[tuple[float, str]]()
    ranges = in_order(lambda row: _range(manifest.paths[row]), deep, READERS, each=64)
    for row, one in zip(deep, ranges, strict=True):
        if manifest.dtypes[row] == "float32":
            floats |= one
            spans.append((one.high - one.low, manifest.names[row]))
        else:
            whole |= one
    if odd := outlier(spans):
        say(odd)
    if len(deep) < len(rows):
        whole |= _Range(0, FULL)  # the 8-bit pictures among them
    return _deep_format(channels, whole, floats)


def outlier(spans: Iterable[tuple[float, str]]) -> str:
    """A sentence on the widest of float pictures, each (range, name), where it is far wider than the median; or ""."""
    ordered = sorted(one for one in spans if one[0] > 0)
    if not ordered:
        return ""
    (widest, name), (median, _) = ordered[-1], ordered[(len(ordered) - 1) // 2]
    if widest <= WIDE * median:
        return ""
    return (
        f"{name!r} spans {widest:g} where the median float picture spans {median:g}, so that the others keep few "
        "levels; does a value in it stand for no data?"
    )


def conform(array: np.ndarray, form: PixelFormat) -> np.ndarray:
    """Turn a decoded picture (H, W, C) into (H, W, form.channels) of form.dtype.

    Grey is replicated, colour becomes grey where the set is grey. Raises DataError for any other number of channels,
    and where nobody knows what values mean: of a float picture in a set without any, and of 12 bits or fewer that a
    file of 16 holds, in a set of 8.
    """
    array = _with_channels(array, form.channels)
    if form.dtype == array.dtype:
        return array
    if array.dtype == np.float32:
        if form.float_high <= form.float_low:
            raise DataError("a float picture in a data set of integer pictures; convert it to 8 or 16 bits.")
        scaled = (array - np.float32(form.float_low)) / np.float32(form.float_high - form.float_low)
        return (scaled.clip(0, 1) * FULL + 0.5).astype(np.uint16)
    if form.dtype == "uint16":
        return array.astype(np.uint16) * np.uint16(257)
    if 0 < array.max() <= FEW_BITS:
        raise DataError(
            f"a 16-bit picture with values up to {array.max()} only, in a data set of 8 bits; convert it to 8 bits."
        )
    return (array >> 8).astype(np.uint8)


def _channels(channels: Int[np.ndarray, "T"]) -> int:
    """3 where grey and colour are mixed, else the commonest number."""
    kinds = Counter(channels.tolist())
    return 3 if set(kinds) == {1, 3} else max(kinds, key=lambda kind: (kinds[kind], kind))


def _range(path: str) -> _Range:
    try:
        array = decode(path)
    except ImageError:
        return _Range()
    return _Range(float(array.min()), float(array.max()))


def _deep_format(channels: int, whole: _Range, floats: _Range) -> PixelFormat:
    """Widen the float range, say what the measured one becomes once quantised, and join it with the integers'."""
    float_low = float_high = 0.0
    if floats:
        span = floats.high - floats.low or 1.0
        float_low, float_high = floats.low - MARGIN * span, floats.high + MARGIN * span
        if max(-float_low, float_high, float_high - float_low) > float(np.finfo(np.float32).max):
            raise DataError(
                f"float pictures hold values from {floats.low:g} to {floats.high:g}, too far apart for any range; one "
                "of these stands for no data: fill it, or leave its pictures out"
            )
        quantum = FULL / (float_high - float_low)
        whole |= _Range((floats.low - float_low) * quantum, (floats.high - float_low) * quantum)
    low, high = (whole.low, whole.high) if whole else (0.0, float(FULL))
    return PixelFormat(channels, "uint16", low, high if high > low else low + 1, float_low, float_high)


def _with_channels(array: np.ndarray, channels: int) -> np.ndarray:
    have = array.shape[2]
    if have == channels:
        return array
    if have == 1:
        return np.repeat(array, channels, axis=2)
    if have == 3 and channels == 1:
        grey = array.astype(np.float32) @ LUMA
        return (grey if array.dtype == np.float32 else np.rint(grey)).astype(array.dtype)[..., None]
    raise DataError(f"a picture has {have} channels where the data set has {channels}; keep one kind in a set.")
