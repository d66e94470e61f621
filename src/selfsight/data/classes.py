"""When sub-folders are labels, and when they are parts of a split.

The rule. Top folders named train, test, val (at least two, and nothing beside them) are the split, and what follows
applies below them; a single folder that holds everything is passed through. Then sub-folders are labels when every
picture lies directly in one of at least two of them, and there are at most half as many of them as pictures. A
sub-folder named `unlabelled` gives no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsight.data import splits

UNLABELLED = {"unlabelled", "unlabeled"}


@dataclass(frozen=True)
class Folders:
    """One label and one part of the split (None: not said) for each picture, and a sentence on what was decided."""

    labels: list[str | None]
    splits: list[str | None]
    notes: list[str]


def from_folders(names: Sequence[str]) -> Folders:
    """Read labels and split off the names (relative, `/` between folders) of the pictures of one folder."""
    parents = _below_common([name.split("/")[:-1] for name in names])
    parts: list[str | None] = [None] * len(names)
    notes = []
    tops = {folders[0].lower() if folders else "" for folders in parents}
    if len(tops) >= 2 and all(splits.is_part(top) for top in tops):
        parts, parents = [folders[0] for folders in parents], _below_common([folders[1:] for folders in parents])
        notes.append(f"the folders {', '.join(sorted(tops))} are the split.")
    classes = {folders[0] for folders in parents if len(folders) == 1}
    if len(classes) < 2 or any(len(folders) != 1 for folders in parents):
        if any(parents):
            notes.append("sub-folders are not labels: not every picture lies directly in one of several of them.")
        return Folders([None] * len(names), parts, notes)
    if len(classes) > len(names) / 2:
        notes.append(f"sub-folders are not labels: {len(classes)} folders for {len(names)} pictures.")
        return Folders([None] * len(names), parts, notes)
    notes.append(f"{len(classes - UNLABELLED)} sub-folders are labels.")
    return Folders([None if f[0].lower() in UNLABELLED else f[0] for f in parents], parts, notes)


def _below_common(parents: list[list[str]]) -> list[list[str]]:
    """Drop the folders that every picture shares."""
    shared = 0
    while parents and all(len(folders) > shared and folders[shared] == parents[0][shared] for folders in parents):
        shared += 1
    return [folders[shared:] for folders in parents]
