"""Sheets: pictures for people. What the network sees beside the originals, and contact sheets of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from selfsight import checkpoints
from selfsight.data.decode import decode, displayed
from selfsight.errors import ImageError

CELL = 128  # side of a picture on a sheet, pixels: a whole multiple of views of 16, 32 and 64
GAP, MARGIN, BREAK = 12, 32, 36  # between pictures, around the sheet, between original and views
PAPER, INK, FAINT, LINE = (255, 255, 255), (28, 30, 34), (120, 124, 132), (226, 228, 232)
TITLE, CAPTION = 20, 13  # heights of type, pixels
MOST_COLUMNS = 10  # views of one picture that are drawn; the caption counts the rest


class Column(NamedTuple):
    """One column of views: its caption, and how to find its picture in a row."""

    name: str  # of the array
    place: int | None  # in (V, h, w, C); None for an array that is one picture
    caption: str


@dataclass(frozen=True)
class Page:
    """A sheet in the making."""

    image: Image.Image
    pen: ImageDraw.ImageDraw

    @classmethod
    def blank(cls, width: int, height: int) -> Page:
        """White paper."""
        image = Image.new("RGB", (width, height), PAPER)
        return cls(image, ImageDraw.Draw(image))

    def write(
        self, x: int, y: int, text: str, size: int = CAPTION, ink: tuple[int, int, int] = INK, width: int = 0
    ) -> None:
        """Text with its upper left at (x, y), shortened to `width` pixels if given."""
        font = ImageFont.load_default(size)
        self.pen.text((x, y), _shortened(text, font, width) if width else text, ink, font)

    def place(self, x: int, y: int, picture: Image.Image) -> None:
        """A picture at the left of the cell at (x, y), with a hairline around it that pale pictures need."""
        y += (CELL - picture.height) // 2
        self.pen.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=LINE)
        self.image.paste(picture, (x, y))

    def keep(self, path: str | Path) -> None:
        """Write it as PNG, whole or not at all."""
        written = BytesIO()
        self.image.save(written, "PNG")
        checkpoints.replace_file(Path(path), written.getvalue())


def sheet(
    originals: Sequence[np.ndarray],
    views: Sequence[dict[str, np.ndarray]],
    path: str | Path,
    low: float | None = None,
    high: float | None = None,
    title: str = "What the network sees",
) -> None:
    """Write a PNG: in each row an original (H, W, C) beside what the network sees, or makes, of it.

    `views` are what a `Views` returned for each original: uint8 and uint16 arrays are drawn under their names, facts
    are not. `low`..`high` is the range that is shown from black to white where there are more than 8 bits.
    """
    columns, more = _columns(views[0])
    left = MARGIN + CELL + BREAK
    width = left + max(1, len(columns)) * (CELL + GAP) - GAP + MARGIN
    top = MARGIN + TITLE + CAPTION + 3 * GAP + CAPTION + GAP
    page = Page.blank(width, top + len(views) * (CELL + GAP) - GAP + MARGIN)
    page.write(MARGIN, MARGIN, title, TITLE)
    page.write(MARGIN, MARGIN + TITLE + GAP, _sizes(views[0]) + more, ink=FAINT, width=width - 2 * MARGIN)
    page.write(MARGIN, top - CAPTION - GAP, "original")
    for number, column in enumerate(columns):
        page.write(left + number * (CELL + GAP), top - CAPTION - GAP, column.caption, width=CELL)
    for row, (original, seen) in enumerate(zip(originals, views, strict=True)):
        y = top + row * (CELL + GAP)
        page.place(MARGIN, y, _fitted(displayed(original, low, high)))
        for number, column in enumerate(columns):
            picture = seen[column.name] if column.place is None else seen[column.name][column.place]
            page.place(left + number * (CELL + GAP), y, _fitted(displayed(picture, low, high)))
    page.keep(path)


def contact_sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], path: str | Path, columns: int = 8) -> None:
    """Write a PNG of pictures (H, W, C) in rows, each with its caption below, shortened where it is too long."""
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    step = CELL + CAPTION + 2 * GAP
    page = Page.blank(2 * MARGIN + columns * (CELL + GAP) - GAP, 2 * MARGIN + max(1, rows) * step - GAP)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = MARGIN + number % columns * (CELL + GAP), MARGIN + number // columns * step
        page.place(x, y, _fitted(displayed(picture)))
        page.write(x, y + CELL + GAP // 2, caption, ink=FAINT, width=CELL)
    page.keep(path)


def contact_sheet_of(paths: Sequence[str], names: Sequence[str], path: str | Path, most: int = 48) -> None:
    """Write a contact sheet of files, evenly spaced where there are more than `most`; an unreadable one is a cross."""
    step = max(1.0, len(paths) / most)
    pictures, captions = [], []
    for number in range(min(most, len(paths))):
        row = int(number * step)
        try:
            picture = Image.fromarray(displayed(decode(paths[row])))
        except ImageError:
            picture = _cross()
        picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)  # at once: full pictures would not fit in memory
        pictures.append(np.asarray(picture))
        captions.append(names[row])
    contact_sheet(pictures, captions, path)


def _cross() -> Image.Image:
    """What stands for a picture that is not there."""
    page = Page.blank(CELL, CELL)
    for ends in ((0, 0, CELL, CELL), (0, CELL, CELL, 0)):
        page.pen.line(ends, LINE)
    return page.image


def png_bytes(array: np.ndarray, low: float | None = None, high: float | None = None) -> bytes:
    """A picture (H, W, C) as PNG without metadata; `low`..`high` as in `sheet`."""
    return _png(Image.fromarray(displayed(array, low, high)))


def thumbnail(array: np.ndarray, side: int, low: float | None = None, high: float | None = None) -> bytes:
    """A picture (H, W, C), its longer side brought down to `side` pixels, as PNG without metadata."""
    image = Image.fromarray(displayed(array, low, high))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _png(image)


def jpeg(array: np.ndarray, side: int) -> bytes:
    """A picture (H, W, 3) uint8, its longer side brought down to `side` pixels, as JPEG without metadata."""
    image, written = Image.fromarray(array), BytesIO()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(written, "JPEG", quality=88)
    return written.getvalue()


def _png(image: Image.Image) -> bytes:
    written = BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _columns(views: dict[str, np.ndarray]) -> tuple[list[Column], str]:
    """The columns to draw, and a remark on those left out."""
    found: list[Column] = []
    for name, array in views.items():
        if array.dtype not in (np.uint8, np.uint16):
            continue
        if array.ndim == 3:
            found.append(Column(name, None, name))
        else:
            found += [Column(name, place, f"{_singular(name)} {place + 1}") for place in range(len(array))]
    left_out = len(found) - MOST_COLUMNS
    return found[:MOST_COLUMNS], f"  ·  {left_out} more not drawn" if left_out > 0 else ""


def _singular(name: str) -> str:
    return name.removesuffix("es") if name.endswith("ches") else name.removesuffix("s")


def _sizes(views: dict[str, np.ndarray]) -> str:
    """How large each named picture is, in words."""
    shapes = {name: array.shape for name, array in views.items() if array.dtype in (np.uint8, np.uint16)}
    channels = {1: "grey", 3: "colour"}
    parts = []
    for name, shape in shapes.items():
        count = f"{shape[0]} " if len(shape) == 4 else ""
        name = _singular(name) if len(shape) == 4 and shape[0] == 1 else name
        kind = channels.get(shape[-1], f"{shape[-1]} channels")
        parts.append(f"{count}{name} of {shape[-3]} x {shape[-2]} pixels, {kind}")
    return "  ·  ".join(parts)


def _fitted(array: np.ndarray) -> Image.Image:
    """(h, w, 3) uint8 as large as the cell; by whole pixels where that is possible, so that a view is seen as it is."""
    image = Image.fromarray(array)
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = scale >= 1 and scale.is_integer()
    return image.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut in the middle until it fits: the end of a file's name tells as much as its beginning."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        cut = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
        if font.getlength(cut) <= width:
            return cut
    return "…"
