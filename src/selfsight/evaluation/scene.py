"""Masked pictures: which are learned from, which are measured on, and their masks as the encoder sees the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from selfsight.data.manifest import Manifest
from selfsight.data.masks import IGNORE, numbers
from selfsight.data.order import Purpose, keyed
from selfsight.data.splits import units
from selfsight.errors import DataError
from selfsight.evaluation.task import listed
from selfsight.views.draw import centre

__all__ = ["Scene", "posed", "view"]

TRAINED, TESTED = 1000, 500  # pictures at most


@dataclass(frozen=True)
class Scene:
    """Rows of the manifest in both parts, and their masks: places in `classes`, -1 where no class is asked for."""

    train: Int[np.ndarray, "T"]
    test: Int[np.ndarray, "Q"]
    masks: Mapping[int, Int[np.ndarray, "S S"]]
    groups: Int[np.ndarray, "N"]  # of every row of the manifest, copies in one
    classes: tuple[int, ...]
    size: int
    notes: tuple[str, ...] = ()


def posed(manifest: Manifest, files: Mapping[int, str], size: int) -> Scene:
    """Open the masks, `files` by row of the manifest, and bring them to the evaluation view of `size` pixels.

    Raises DataError when a part of the split has none, a mask is not of its picture's size, or the training part shows
    fewer than two classes.
    """
    masked = np.array(sorted(files))
    parts = [masked[manifest.test[masked] == test] for test in (False, True)]
    if not all(map(len, parts)):
        raise DataError(
            f"--dense learns from masks of training pictures and measures on those of test ones; {len(parts[0])} and "
            f"{len(parts[1])} have one: add masks, or change the split column"
        )
    train, test = (fewer(rows, most) for rows, most in zip(parts, (TRAINED, TESTED), strict=True))
    masks = {row: opened(files[row], manifest, row, size) for row in (*train.tolist(), *test.tolist())}
    shown = [np.unique(np.concatenate([np.unique(masks[row]) for row in rows])) for rows in (train, test)]
    classes, others = (found[found != IGNORE] for found in shown)
    if len(classes) < 2:
        raise DataError(
            f"the masks of the training pictures show {len(classes)} class ({', '.join(map(str, classes)) or 'none'}), "
            f"and two are needed; {IGNORE} says that a pixel has no class, so save a class of that number as another"
        )
    places = {row: np.where(np.isin(mask, classes), np.searchsorted(classes, mask), -1) for row, mask in masks.items()}
    if not any((places[row] >= 0).any() for row in test.tolist()):
        raise DataError("no mask of a test picture shows a class that the training pictures show; add such masks")
    notes = list(said(manifest, masked, train, test, np.setdiff1d(others, classes)))
    groups = units(manifest.groups, manifest.digests)
    return Scene(train, test, places, groups, tuple(classes.tolist()), size, tuple(notes))


def fewer(rows: Int[np.ndarray, "M"], most: int) -> Int[np.ndarray, "K"]:
    """At most so many of them, always the same."""
    return np.sort(keyed(0, 0, Purpose.MONITOR).permutation(rows)[:most])


def opened(file: str, manifest: Manifest, row: int, size: int) -> Int[np.ndarray, "S S"]:
    """The mask in the evaluation view; DataError when it does not lie on its picture pixel by pixel."""
    mask = numbers(file)
    height, width = int(manifest.heights[row]), int(manifest.widths[row])
    if mask.shape != (height, width):
        raise DataError(
            f"the mask {file!r} has {mask.shape[1]} x {mask.shape[0]} pixels and its picture {manifest.names[row]!r} "
            f"{width} x {height}; make both of one size"
        )
    return view(mask, size).astype(np.int64)


def view(mask: Shaped[np.ndarray, "H W"], size: int) -> Shaped[np.ndarray, "S S"]:
    """The same square that `views.render.whole` shows of the picture, by nearest pixel: class numbers do not mix."""
    top, left, height, width = centre(*mask.shape)
    down, right = (((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in (height, width))
    return mask[top + down[:, None], left + right]


def said(
    manifest: Manifest,
    masked: Int[np.ndarray, "M"],
    train: Int[np.ndarray, "T"],
    test: Int[np.ndarray, "Q"],
    unseen: Int[np.ndarray, "U"],
) -> list[str]:
    """What people should know of what was left out."""
    notes = []
    bare = np.setdiff1d(manifest.every_row(), masked)
    if len(bare):
        first = manifest.names[bare[0]]
        notes.append(f"{len(bare)} of {len(manifest)} pictures have no mask and are left out; the first is {first!r}.")
    if len(train) + len(test) < len(masked):
        notes.append(f"Of {len(masked)} masked pictures {len(train)} are learned from and {len(test)} measured on.")
    if len(unseen):
        numbers_of = listed(np.arange(len(unseen)), [str(number) for number in unseen.tolist()])
        notes.append(f"Pixels of classes that no training picture shows are left out: {numbers_of}.")
    return notes
