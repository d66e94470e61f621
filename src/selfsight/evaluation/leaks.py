"""Test pictures that the training part gives away: the same file, nearly the same picture, the same group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError
from selfsight.evaluation.baselines import scaled
from selfsight.neighbours import nearest
from selfsight.views.render import cells

# A picture is compared by its brightness in 12 x 12 cells, in units of its own deviation. Recompressing and resizing
# change every cell a little, another picture changes some cell a lot: the largest change tells them apart where a hash
# or a correlation does not. docs/evaluation.md has what was measured on four sets.
SIDE = 12
BRIGHTNESS = 0.12  # the largest change of a cell's brightness
COLOUR = 0.3  # and of a colour in it, which JPEG keeps at half the size; its mean over the picture is free
CONTRAST = 1.5  # the deviations of two copies differ by this factor at most
FLAT = 0.01  # of the range: with a smaller deviation a picture is too empty to tell copies by
CANDIDATES = 5  # training pictures that are compared, of those nearest by cells and of those nearest by embedding
BLOCK = 256  # test pictures compared at once


@dataclass(frozen=True)
class Leaks:
    """What was found, by test picture; `test` are their places among all N, `pairs` a test and a training place."""

    count: int  # N
    test: Int[np.ndarray, "Q"]
    exact: Bool[np.ndarray, "Q"]
    near: Bool[np.ndarray, "Q"]  # and not exact
    grouped: Bool[np.ndarray, "Q"]
    groups: int  # that have pictures in both parts
    pairs: list[tuple[int, int, dict[str, Any]]]
    looked: tuple[int, int]  # training pictures that near ones were looked for among, and that there are

    @property
    def affected(self) -> Bool[np.ndarray, "Q"]:
        """Test pictures that any of these holds of."""
        return np.asarray(self.exact | self.near | self.grouped)

    def left(self) -> Bool[np.ndarray, "N"]:
        """All but the affected ones; DataError when no test picture is left."""
        if self.affected.all():
            raise DataError(
                f"each of the {len(self.test)} test pictures has a copy or its group in the training part, so "
                "--drop-leaks leaves nothing to measure; give another split"
            )
        left = np.ones(self.count, dtype=bool)
        left[self.test[self.affected]] = False
        return left

    def told(self, dropped: bool = False, remedy: str = " (--drop-leaks leaves them out)") -> dict[str, Any]:
        """Counts of test pictures, and a sentence, for the JSON."""
        counts = {name: int(getattr(self, name).sum()) for name in ("exact", "near", "grouped", "affected")}
        total = len(self.test)
        parts = [
            f"{counts['exact']} are copies of training pictures",
            f"{counts['near']} are nearly the same as one",
            f"{counts['grouped']} are of {self.groups} groups that have training pictures",
        ]
        said = ", ".join(part for part, name in zip(parts, counts, strict=False) if counts[name])
        after = "they are left out of every number" if dropped else f"that flatters every row of the table{remedy}"
        sentence = f"{counts['affected']} of {total} test pictures leak: {said}; {after}."
        if not counts["affected"]:
            sentence = (
                f"None of the {total} test pictures was found in this set's training part, as a copy or by its group."
            )
        if self.looked[0] < self.looked[1]:
            among, known = self.looked
            sentence += f" Nearly the same pictures were looked for among {among} of {known} training pictures."
        return {"test": total, **counts, "groups": self.groups, "dropped": dropped, "sentence": sentence}


def find(
    manifest: Manifest,
    grids: Float[np.ndarray, "N S S C"],
    vectors: Float[np.ndarray, "N D"],
    whole: Manifest | None = None,
) -> Leaks | None:
    """Compare every test picture with the training part; `grids` are of `grid` (S = 0: samples that have none).

    Files and groups are looked for in the training part of the `whole` set, of which `manifest` may be a portion.

    Copies are told by the digest of the file. Where there is none, the training pictures that are nearest by their
    cells and by their embedding are compared cell by cell. None when there are not both parts. Memory beyond the cells
    is O(N) for a block of test pictures.
    """
    test, train = np.flatnonzero(manifest.test), np.flatnonzero(~manifest.test)
    if not len(test) or not len(train):
        return None
    first = {manifest.digests[row]: int(row) for row in train[::-1]}
    copies = np.array([first.get(manifest.digests[row], -1) for row in test])
    alike = _alike(grids, vectors, test, train) if grids.shape[1] else np.full(len(test), -1)
    partners = np.where(copies >= 0, copies, alike)
    pairs = [
        (int(test[place]), int(partners[place]), {"as": "the same file" if copies[place] >= 0 else "nearly the same"})
        for place in np.flatnonzero(partners >= 0)
    ]
    whole = whole or manifest
    known = np.flatnonzero(~whole.test)
    files = {whole.digests[row] for row in known}
    exact = np.array([manifest.digests[row] in files for row in test])
    shared = np.intersect1d(manifest.groups[test], whole.groups[known])
    grouped = np.isin(manifest.groups[test], shared)
    looked = (len(train), len(known))
    return Leaks(len(manifest), test, exact, (partners >= 0) & ~exact, grouped, len(shared), pairs, looked)


def _alike(
    grids: Float[np.ndarray, "N S S C"],
    vectors: Float[np.ndarray, "N D"],
    test: Int[np.ndarray, "Q"],
    train: Int[np.ndarray, "T"],
) -> Int[np.ndarray, "Q"]:
    """The training picture that each test picture nearly is; -1 where there is none."""
    cells = Cells.of(grids)
    count = min(CANDIDATES, len(train))
    found = train[np.hstack([nearest(rows[test], rows[train], count)[1] for rows in (cells.grey, vectors)])]
    partners = np.full(len(test), -1)
    for start in range(0, len(test), BLOCK):
        some, others = test[start : start + BLOCK, None], found[start : start + BLOCK]
        apart = cells.apart(some, others)
        best = apart.argmin(axis=1)[:, None]
        same = np.isfinite(np.take_along_axis(apart, best, axis=1))
        partners[start : start + BLOCK] = np.where(same, np.take_along_axis(others, best, axis=1), -1)[:, 0]
    return partners


@dataclass(frozen=True)
class Cells:
    """Pictures as cells, in units of each one's own deviation."""

    grey: Float[np.ndarray, "N P"]
    colours: Float[np.ndarray, "N Q"]
    spread: Float[np.ndarray, "N"]

    @classmethod
    def of(cls, grids: Float[np.ndarray, "N S S C"]) -> Cells:
        """From what `grid` makes of each picture."""
        colours = (grids - grids.mean(axis=(1, 2), keepdims=True)).reshape(len(grids), -1, grids.shape[3])
        grey = colours.mean(axis=2)  # (N, S * S)
        spread = grey.std(axis=1)
        unit = np.maximum(spread, FLAT)[:, None]
        return cls(grey / unit, colours.reshape(len(grids), -1) / unit, spread)

    def apart(self, some: Int[np.ndarray, "..."], others: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """By how much the brightness of any cell differs at most; infinite where they are not the same picture."""
        apart = np.abs(self.grey[some] - self.grey[others]).max(axis=-1)
        hues = np.abs(self.colours[some] - self.colours[others]).max(axis=-1)
        contrast = np.abs(np.log(np.maximum(self.spread[some], FLAT) / np.maximum(self.spread[others], FLAT)))
        told = (self.spread[some] >= FLAT) & (self.spread[others] >= FLAT) & (contrast <= np.log(CONTRAST))
        return np.where(told & (hues <= COLOUR) & (apart <= BRIGHTNESS), apart, np.inf)


def grid(picture: Int[np.ndarray, "H W C"], low: float, high: float) -> Float[np.ndarray, "S S C"]:
    """A picture as 12 x 12 cells, 0 to 1 over the range `low` to `high`; the whole of it, whatever its shape."""
    return scaled(cells(picture, SIDE), low, high)
