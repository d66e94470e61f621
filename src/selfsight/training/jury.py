"""Whom views are judged by, where they are searched for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.data.splits import units

__all__ = ["Jury", "labelled"]

SHOWN = 3000  # training pictures with a label that a choice is made by, at most


@dataclass(frozen=True)
class Jury:
    """The training pictures with a label that candidates are judged by: each is named by those of other groups."""

    rows: Int[np.ndarray, "N"]
    labels: Int[np.ndarray, "N"]
    groups: Int[np.ndarray, "N"]

    @classmethod
    def of(cls, manifest: Manifest, seed: int, count: int | None = None) -> Jury:
        """So many of those there are."""
        rows = labelled(manifest, seed, count)
        return cls(rows, manifest.labels[rows], units(manifest.groups, manifest.digests)[rows])

    @property
    def nameable(self) -> Bool[np.ndarray, "N"]:
        """Those whose label other groups have as well."""
        pairs = np.unique(np.stack([self.labels, self.groups]), axis=1)
        labels, counts = np.unique(pairs[0], return_counts=True)
        return np.isin(self.labels, labels[counts > 1])


def labelled(manifest: Manifest, seed: int, count: int | None = None) -> Int[np.ndarray, "N"]:
    """Training pictures with a label, `SHOWN` or so many, drawn by the seed."""
    rows = manifest.train_rows()
    known = rows[manifest.labels[rows] >= 0]
    return np.sort(keyed(seed, 4, Purpose.MONITOR).permutation(known)[: SHOWN if count is None else count])
