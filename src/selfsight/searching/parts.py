"""What the run of an index says of its pictures: which part of the split they are in, and who is in their group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsight.data.manifest import Manifest

__all__ = ["Part", "parts"]


class Part(NamedTuple):
    """`group` is called by its first picture, "" where there is no other; `split` is train or test."""

    group: str
    split: str


def parts(run: Path, files: Sequence[str], digests: Sequence[str]) -> list[Part | None]:
    """Of each of these pictures; None where the run has no such file, nor one with the same contents.

    Contents that are in both parts are of the test part.
    """
    listing = run / "manifest.parquet"
    if not listing.is_file():
        return [None] * len(files)
    manifest = Manifest.load(listing)
    rows = np.argsort(manifest.test, kind="stable").tolist()  # the test part is last, and so it stays
    place = {manifest.digests[row]: row for row in rows} | {manifest.paths[row]: row for row in rows}
    found = [place.get(file, place.get(digest)) for file, digest in zip(files, digests, strict=True)]
    _, first, group, sizes = np.unique(manifest.groups, return_index=True, return_inverse=True, return_counts=True)
    named = np.where(sizes[group] > 1, np.array(manifest.names, object)[first[group]], "")
    split = np.where(manifest.test, "test", "train")
    return [None if row is None else Part(str(named[row]), str(split[row])) for row in found]
