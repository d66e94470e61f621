"""Which mask belongs to which picture: by name in a folder, or as a table with the columns path and mask says."""

from __future__ import annotations

import os
from pathlib import Path

from selfsight.data import tables
from selfsight.data.decode.masks import numbers
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.walk import walk
from selfsight.errors import DataError

__all__ = ["IGNORE", "numbers", "paired"]

IGNORE = 255  # a pixel that no class is asked of: PASCAL VOC's border, Cityscapes' rest
MASK = "mask"


def paired(masks: Path, manifest: Manifest) -> dict[int, str]:
    """{row of the manifest: file of its mask}; pictures that have none are not in it. Nothing is opened.

    In a folder a mask has the picture's name, whatever its ending and whichever of the picture's outer folders are
    there too. Raises DataError when no picture has a mask, or two have the same.
    """
    if not masks.exists():
        raise DataError(f"--dense {str(masks)!r} does not exist; name a folder of masks, or a table with path and mask")
    found = _of_folder(masks, manifest) if masks.is_dir() else _of_table(masks, manifest)
    if not found:
        raise DataError(
            f"none of the {len(manifest)} pictures has a mask in {str(masks)!r}, the first is {manifest.names[0]!r}; "
            "give each mask its picture's name, or a table with the columns path and mask"
        )
    owners: dict[str, int] = {}
    for row, file in found.items():
        if file in owners:
            both = f"{manifest.names[owners[file]]!r} and {manifest.names[row]!r}"
            raise DataError(
                f"the mask {file!r} would belong to both {both}; put the masks into folders as the pictures"
            )
        owners[file] = row
    return found


def _of_folder(folder: Path, manifest: Manifest) -> dict[int, str]:
    there = {os.path.splitext(name)[0]: name for name in walk(str(folder), KINDS["pictures"].endings).names}
    found = {}
    for row, name in enumerate(manifest.names):
        parts = os.path.splitext(name)[0].split("/")
        ends = ("/".join(parts[first:]) for first in range(len(parts)))
        if (end := next((end for end in ends if end in there), None)) is not None:
            found[row] = os.path.join(folder, there[end])
    return found


def _of_table(file: Path, manifest: Manifest) -> dict[int, str]:
    if file.suffix.lower() not in tables.TABLES:
        raise DataError(
            f"--dense {str(file)!r} is neither a folder nor a table; name one with the columns path and mask"
        )
    table = tables.read_columns(file)
    paths = tables.column(table, tables.PATH, file, default=tables.PATH) or []
    files = tables.column(table, MASK, file, default="") or []
    beside = os.path.dirname(os.path.abspath(file))
    rows = {os.path.normpath(path): row for row, path in enumerate(manifest.paths)}
    rows |= {name: row for row, name in enumerate(manifest.names)}
    found = {}
    for path, mask in zip(paths, files, strict=True):
        row = rows.get(os.path.normpath(os.path.join(beside, path or "")), rows.get(path or ""))
        if row is not None and mask:
            found[row] = os.path.normpath(os.path.join(beside, mask))
    return found
