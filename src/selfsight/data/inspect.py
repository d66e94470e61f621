"""What a data set holds, before anybody trains on it: every picture is decoded once and nothing is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from selfsight.data import shards
from selfsight.data.bad import BadFile, first_bytes
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.ranges import READERS, outlier
from selfsight.data.source import Listing
from selfsight.errors import ImageError

FEW = 2  # a class with fewer pictures cannot be scored: one to learn from, one to ask about
CHUNK = 256  # pictures that are looked at before the next are fetched
SHOWN = 20  # entries of each list in `to_dict`


@dataclass(frozen=True)
class Inspection:
    """Counts of what can be decoded, and findings. Every list of names is complete; `to_dict` shortens them."""

    pictures: int
    sources: tuple[str, ...]
    notes: tuple[str, ...]  # how DATA was read
    bad: tuple[BadFile, ...]  # unreadable when scanned, or when decoded
    constant: tuple[str, ...]  # names of pictures of one single colour
    duplicates: tuple[tuple[str, ...], ...]  # names of pictures with the same bytes
    across_split: int  # groups of duplicates with members in train and test
    conflicting: int  # groups of duplicates with different labels
    widths: tuple[int, int, int]  # smallest, median, largest
    heights: tuple[int, int, int]
    channels: dict[int, int]  # channels -> pictures
    dtypes: dict[str, int]  # dtype -> pictures
    bits: int  # bits in use by the integer pictures: 12-bit data in 16-bit files say 12
    classes: dict[str, int]  # label -> pictures
    unlabelled: int
    groups: int
    train: int
    test: int
    suggestions: tuple[str, ...]
    kind: str = "pictures"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; lists of names are cut to the first few, their lengths kept beside them."""
        plain = asdict(self)
        plain["bad"] = [{"path": one.path, "reason": one.reason, "detail": one.detail} for one in self.bad[:SHOWN]]
        plain["bad_reasons"] = dict(Counter(one.reason for one in self.bad))
        for name in ("bad", "constant", "duplicates"):
            plain[f"{name}_count"] = len(getattr(self, name))
            plain[name] = plain[name][:SHOWN]
        called = KINDS[plain.pop("kind")].facts
        return {called.get(name, name): value for name, value in plain.items() if called.get(name, name)}


@dataclass(frozen=True)
class _Look:
    constant: bool
    largest: int  # value of an integer picture; 0 for float
    span: float  # of the values of a float picture; 0 for integers


def inspect_data(manifest: Manifest, listing: Listing) -> Inspection:
    """Decode every picture of a scanned listing and say what there is, and what to do about it."""
    look, paths = partial(_look, KINDS[manifest.kind].decode), manifest.paths
    looks: list[_Look | BadFile] = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(paths), CHUNK):
            shards.ahead(paths[start : start + CHUNK])
            looks += pool.map(look, paths[start : start + CHUNK])
    bad = (*manifest.bad, *(look for look in looks if isinstance(look, BadFile)))
    usable = manifest.taking(np.flatnonzero([isinstance(look, _Look) for look in looks]))
    good = list(zip(usable.names, (look for look in looks if isinstance(look, _Look)), strict=True))
    odd = outlier((look.span, name) for name, look in good)
    copies = list(_copies(usable.digests))
    found: dict[str, Any] = {
        "constant": tuple(name for name, look in good if look.constant),
        "duplicates": tuple(tuple(usable.names[row] for row in rows) for rows in copies),
        "across_split": sum(len(set(usable.test[rows].tolist())) > 1 for rows in copies),
        "conflicting": sum(len({*usable.labels[rows].tolist()} - {-1}) > 1 for rows in copies),
        "bits": max((look.largest for _, look in good), default=0).bit_length(),
        **_counts(usable),
    }
    return Inspection(
        pictures=len(usable),
        sources=listing.titles,
        notes=listing.notes,
        bad=bad,
        **found,
        suggestions=(*_suggestions(manifest, bad, found), *([odd] if odd else [])),
        kind=manifest.kind,
    )


def _look(decode: Callable[[str], np.ndarray], path: str) -> _Look | BadFile:
    try:
        array = decode(path)
    except ImageError as error:
        return BadFile(path, error.reason, error.detail, first_bytes(path))
    one_colour = bool((array == array[:1, :1]).all())
    if array.dtype == np.float32:
        return _Look(one_colour, 0, float(array.max()) - float(array.min()))
    return _Look(one_colour, int(array.max()), 0.0)


def _copies(digests: Sequence[str]) -> Iterator[list[int]]:
    """Rows of pictures with the same bytes, two or more."""
    rows = defaultdict(list)
    for row, digest in enumerate(digests):
        rows[digest].append(row)
    return (same for same in rows.values() if len(same) > 1)


def _counts(manifest: Manifest) -> dict[str, Any]:
    labelled = Counter(manifest.classes[label] for label in manifest.labels if label >= 0)
    return {
        "widths": _spread(manifest.widths),
        "heights": _spread(manifest.heights),
        "channels": dict(sorted(Counter(manifest.channels.tolist()).items())),
        "dtypes": dict(sorted(Counter(manifest.dtypes).items())),
        "classes": {name: labelled[name] for name in manifest.classes if name in labelled},
        "unlabelled": int((manifest.labels < 0).sum()),
        "groups": len(set(manifest.groups.tolist())),
        "train": len(manifest.train_rows()),
        "test": len(manifest.test_rows()),
    }


def _spread(values: np.ndarray) -> tuple[int, int, int]:
    return (int(values.min()), int(np.median(values)), int(values.max())) if len(values) else (0, 0, 0)


def _suggestions(manifest: Manifest, bad: Sequence[BadFile], found: dict[str, Any]) -> Iterable[str]:
    """What the findings ask for, one sentence each."""
    if any(one.reason == "unsupported_codec" for one in bad):
        yield "Some pictures are in a format that is not opened; convert them to JPEG, PNG or TIFF."
    if any(one.reason == "git_lfs_pointer" for one in bad):
        yield "Some files are Git LFS pointers; run: git lfs pull."
    if len(bad) > 0.1 * (len(manifest) + len(manifest.bad)):
        yield "More than a tenth of the files are bad; training would refuse: repair or remove them."
    if found["across_split"]:
        yield f"{found['across_split']} pictures lie in train and in test; scores would flatter: remove the copies."
    if found["conflicting"]:
        yield f"{found['conflicting']} pictures carry two labels in two copies; decide which is right."
    if few := [name for name, count in found["classes"].items() if count < FEW]:
        yield f"{len(few)} classes have a single picture (such as {few[0]!r}); they cannot be scored."
    if not manifest.classes:
        yield "No labels were found: quality will be measured by how well two views of a picture find each other."
    if found["constant"]:
        yield f"{len(found['constant'])} pictures are of one colour (such as {found['constant'][0]!r}); look at them."
    if "uint8" not in found["dtypes"] and 8 < found["bits"] < 16:
        yield f"Only {found['bits']} of 16 bits are in use; the range is measured, nothing needs to be done."
    if len(found["channels"]) > 1 and set(found["channels"]) != {1, 3}:
        yield f"Pictures differ in their channels ({found['channels']}); those unlike most will be refused."
