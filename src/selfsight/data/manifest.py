"""The pictures of a data set as one table: what trains, what is held out, and the digest that proves it is the same.

The scan reads every file once: its digest and its header. Nothing of a picture's size is allocated. A file that an
earlier scan has read and that has the same size and times since is not read again (`known`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int
from pyarrow import parquet

from selfsight import checkpoints
from selfsight.data import tables
from selfsight.data.bad import BadFile, first_bytes
from selfsight.data.decode import Header, Refused
from selfsight.data.kinds import KINDS, Kind
from selfsight.data.known import Known
from selfsight.data.shards import content_digest
from selfsight.data.source import Listing, Row, Seen
from selfsight.data.splits import held_out, united
from selfsight.data.threads import in_order
from selfsight.errors import DataError, brief

READERS = min(8, 2 + (os.cpu_count() or 1))  # threads of a scan: reading and hashing release the interpreter lock
COLUMNS = ("labels", "groups", "test", "widths", "heights", "channels")
TEXTS = ("paths", "names", "digests", "dtypes")
FACTS = ("classes", "bad", "use_all", "kind")
BLANK = "0" * 64
DIGEST = b"\x06sha256\x18\x40"  # so Parquet's footer begins an entry of 64 letters by that name


@dataclass(frozen=True, eq=False)
class Manifest:
    """One row for each picture that can be described, sorted by name within a source. N rows."""

    paths: tuple[str, ...]  # absolute
    names: tuple[str, ...]  # as the user knows them
    digests: tuple[str, ...]  # BLAKE2b-128 of the file, hexadecimal
    labels: Int[np.ndarray, "N"]  # place in `classes`; -1 = unlabelled
    groups: Int[np.ndarray, "N"]  # as the source says; a hashed split never cuts one, a declared split may
    test: Bool[np.ndarray, "N"]  # the test part: training never reads these, unless `use_all`
    widths: Int[np.ndarray, "N"]
    heights: Int[np.ndarray, "N"]
    channels: Int[np.ndarray, "N"]
    dtypes: tuple[str, ...]  # uint8, uint16 or float32
    classes: tuple[str, ...]
    bad: tuple[BadFile, ...] = ()
    use_all: bool = False  # the test part trains too, and keeps its mark
    kind: str = "pictures"  # of `kinds.KINDS`

    def __len__(self) -> int:
        return len(self.paths)

    def every_row(self) -> Int[np.ndarray, "N"]:
        """All rows."""
        return np.arange(len(self.paths))

    def train_rows(self) -> Int[np.ndarray, "T"]:
        """Rows that may be trained on."""
        return self.every_row() if self.use_all else np.flatnonzero(~self.test)

    def test_rows(self) -> Int[np.ndarray, "T"]:
        """Rows of the test part."""
        return np.flatnonzero(self.test)

    def taking(self, rows: Int[np.ndarray, "K"]) -> Manifest:
        """The manifest of these rows alone."""
        kept: dict[str, Any] = {name: getattr(self, name)[rows] for name in COLUMNS}
        kept |= {name: tuple(getattr(self, name)[row] for row in rows) for name in TEXTS}
        return replace(self, **kept)

    def digest(self) -> str:
        """One digest of names, contents, labels, groups and split; the place of the folder is not part of it."""
        hashed = blake2b(digest_size=16)
        for name, content, label, group, test in self._facts():
            hashed.update(repr((name, content, label, group, test)).encode())
        return hashed.hexdigest()

    def difference(self, other: Manifest) -> str | None:
        """What changed from this manifest to `other`, in one sentence; None when nothing that matters did."""
        if self._same(other):
            return None
        before = {name: facts for name, *facts in self._facts()}
        after = {name: facts for name, *facts in other._facts()}
        for sentence, names in (
            ("is gone", before.keys() - after.keys()),
            ("is new", after.keys() - before.keys()),
            *(
                (words, {name for name in before.keys() & after.keys() if before[name][i] != after[name][i]})
                for i, words in enumerate(
                    ("has other contents", "has another label", "is in another group", "changed its part of the split")
                )
            ),
        ):
            if names:
                more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
                return f"the pictures changed: {min(names)!r}{more} {sentence}"
        return None if self.names == other.names else "the pictures changed their order"

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet, whole or not at all."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in COLUMNS}
        columns |= {name: tables.column_of(getattr(self, name)) for name in TEXTS}
        bad = [{**asdict(one), "first_bytes": one.first_bytes.hex()} for one in self.bad]
        facts = {"classes": self.classes, "bad": bad, "use_all": self.use_all, "kind": self.kind}
        told = {"sha256": BLANK, **{key: json.dumps(value) for key, value in facts.items()}}
        table, sink = pa.table(columns).replace_schema_metadata(told), pa.BufferOutputStream()
        parquet.write_table(table, sink, use_dictionary=["dtypes"])  # the other texts are all different
        content = bytearray(sink.getvalue())
        place, digest = _own_digest(content)
        content[place : place + len(digest)] = digest
        checkpoints.replace_file(Path(path), bytes(content))

    @classmethod
    def load(cls, path: str | Path) -> Manifest:
        """Read what `save` wrote. Raises DataError when it is not a manifest, or a bit of it is another."""
        try:
            content = tables.parquet_bytes(Path(path))
            place, digest = _own_digest(content)
            if place and content[place : place + len(digest)] != digest:
                raise ValueError("it does not match its digest: it was damaged or changed")
            table = tables.parquet_table(content)
            told = {key.decode(): text for key, text in (table.schema.metadata or {}).items()}
            if (place > 0) != (told.pop("sha256", None) is not None) or told.keys() - {*FACTS}:
                raise ValueError("it was damaged")  # where its digest is; one of an older Selfsight has none
            facts = {key: json.loads(text) for key, text in told.items()}
            columns: dict[str, Any] = {name: table[name].to_numpy() for name in COLUMNS}
            columns |= {name: tuple(tables.values_of(table[name])) for name in TEXTS}
            bad = [BadFile(**one | {"first_bytes": bytes.fromhex(one["first_bytes"])}) for one in facts["bad"]]
            columns |= {"use_all": bool(facts.get("use_all", False)), "kind": str(facts.get("kind", cls.kind))}
            return cls(**columns, classes=tuple(map(str, facts["classes"])), bad=tuple(bad))._checked()
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
            raise DataError(
                f"{str(path)!r} is not a manifest of pictures ({brief(error)}); start the run anew."
            ) from error

    def _checked(self) -> Manifest:
        """Itself; ValueError when it is none of ours."""
        numbers = all(getattr(self, name).dtype == (bool if name == "test" else np.int64) for name in COLUMNS)
        if not numbers or any(not isinstance(one, str) for name in TEXTS for one in getattr(self, name)):
            raise ValueError("a column is of another type")
        if len(self) and not -1 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError("a label has no class")
        if self.kind not in KINDS or (len(self) and min(self.widths.min(), self.heights.min()) < 1):
            raise ValueError("samples without a size, or of no kind")
        return self

    def _same(self, other: Manifest) -> bool:
        """Whether nothing differs, found quickly."""
        arrays = [(self.labels, other.labels), (self.test, other.test), (_firsts(self.groups), _firsts(other.groups))]
        texts = ("names", "digests", "classes")
        return all(getattr(self, name) == getattr(other, name) for name in texts) and all(
            np.array_equal(mine, theirs) for mine, theirs in arrays
        )

    def _facts(self) -> Iterable[tuple[str, str, str | None, str, bool]]:
        """What makes a row the same row; a group is called by its first member, a label by its class."""
        first: dict[int, str] = {}
        for row, name in enumerate(self.names):
            label = int(self.labels[row])
            group = first.setdefault(int(self.groups[row]), name)
            yield name, self.digests[row], None if label < 0 else self.classes[label], group, bool(self.test[row])


class Described(NamedTuple):
    """A row of a listing whose file was read: its bytes, their digest and what they hold."""

    row: Row
    size: int
    digest: str
    header: Header


def scan(
    listing: Listing, *, seed: int = 0, use_all: bool = False, holdout: float = 0.2, anew: bool = False
) -> Manifest:
    """Read every file of the listing once and describe it; `anew` also those that an earlier scan has read.

    The test part is what the source says, copies in both parts included; where it says nothing, a share of `holdout` is
    chosen by a hash of the group (without one: of the contents) and `seed`, and pictures that share a group or their
    contents go the same way. `use_all` chooses none, and lets what the source declares train too, still marked as test.
    Raises DataError when no picture can be read.
    """
    seen, bad = described(listing, anew=anew)
    made = _manifest(seen, bad, _test(seen, seed, 0.0 if use_all else holdout))
    return replace(made, use_all=use_all, kind=listing.kind)


def described(listing: Listing, *, anew: bool = False) -> tuple[list[Described], tuple[BadFile, ...]]:
    """What each file of a listing holds, and the files that cannot be read. DataError when none can."""
    known = Known(() if anew else listing.rows, listing.kind)
    rows = listing.rows if anew else known.recalled(listing.rows)
    anew_read = (row for row in rows if row.seen is None)
    read = in_order(partial(_see, KINDS[listing.kind]), anew_read, READERS, each=64)
    results = [next(read) if row.seen is None else Described(row, *row.seen) for row in rows]
    known.keep((one.row.path, Seen(*one[1:])) for one in results if isinstance(one, Described))
    seen = [one for one in results if isinstance(one, Described)]
    bad = (*listing.refused, *(one for one in results if isinstance(one, BadFile)))
    if not rows and not bad:
        raise DataError(f"{brief(', '.join(listing.titles))!r} lists no {listing.kind}.")
    if not seen:
        first, why = brief(repr(bad[0].path)), f" ({bad[0].detail})" if bad[0].detail else ""
        raise DataError(
            f"none of {len(bad)} files can be read as a {KINDS[listing.kind].one}; the first is {first}: "
            f"{bad[0].reason}{why}."
        )
    return seen, bad


def _see(kind: Kind, row: Row) -> Described | BadFile:
    try:
        data = kind.read(row.path)
        return Described(row, len(data), content_digest(data), kind.describe(data))
    except Refused as refused:
        return BadFile(row.path, refused.reason, refused.detail, first_bytes(row.path))


def _test(seen: Sequence[Described], seed: int, holdout: float) -> list[bool]:
    """Which pictures are the test part. Those without a declared part go together when they share a group or contents:
    with a copy of theirs that is declared test, else with one that is declared train, else as a hash says."""
    keys = [
        (("contents", one.digest), *([("group", *_group(one.row))] if one.row.split is None else [])) for one in seen
    ]
    together: dict[int, list[Described]] = {}
    units = united(keys)
    for unit, one in zip(units, seen, strict=True):
        together.setdefault(unit, []).append(one)
    parts = {unit: _part(ones, seed, holdout) for unit, ones in together.items()}
    return [
        parts[unit] if one.row.split is None else one.row.split == "test" for unit, one in zip(units, seen, strict=True)
    ]


def _part(together: Sequence[Described], seed: int, holdout: float) -> bool:
    """Whether pictures that must not be parted are held out; the hash is of their first group by name."""
    declared = {one.row.split for one in together} - {None}
    if declared:
        return "test" in declared
    groups = [one.row.group for one in together if one.row.group is not None]
    return held_out(min(groups or [one.digest for one in together]), holdout, seed)


def _manifest(seen: Sequence[Described], bad: tuple[BadFile, ...], test: Sequence[bool]) -> Manifest:
    classes = _classes(one.row.label for one in seen)
    number = {label: place for place, label in enumerate(classes)}
    groups = {key: place for place, key in enumerate(dict.fromkeys(_group(one.row) for one in seen))}
    return Manifest(
        paths=tuple(one.row.path for one in seen),
        names=tuple(one.row.name for one in seen),
        digests=tuple(one.digest for one in seen),
        labels=np.array([number.get(one.row.label or "", -1) for one in seen], np.int64),
        groups=np.array([groups[_group(one.row)] for one in seen], np.int64),
        test=np.array(test, bool),
        widths=np.array([one.header.width for one in seen], np.int64),
        heights=np.array([one.header.height for one in seen], np.int64),
        channels=np.array([one.header.channels for one in seen], np.int64),
        dtypes=tuple(one.header.dtype for one in seen),
        classes=classes,
        bad=bad,
    )


def _own_digest(content: bytes | bytearray) -> tuple[int, bytes]:
    """Where a saved table holds the SHA-256 of all its other bytes, 0 when it holds none, and what that must be."""
    place = content.rfind(DIGEST) + len(DIGEST)
    if place < len(DIGEST):
        return 0, b""
    found = sha256(content[:place])
    found.update(content[place + len(BLANK) :])
    return place, found.hexdigest().encode()


def _firsts(groups: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """Groups called by the row of their first member."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    found: np.ndarray = first[group]
    return found


def _classes(labels: Iterable[str | None]) -> tuple[str, ...]:
    """The classes in order; numbers are ordered as numbers."""
    names = {label for label in labels if label is not None}
    return tuple(sorted(names, key=lambda name: (int(name) if name.isdecimal() else -1, name)))


def _group(row: Row) -> tuple[int, str]:
    """A group belongs to its source; a picture without a group is a group of its own."""
    return (-1, row.path) if row.group is None else (row.source, row.group)
