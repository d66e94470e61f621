"""What is in labels.csv stays there, whoever else writes it and whichever pictures a page is about."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from selfsight import cli
from selfsight.browsing.collection import Collection
from selfsight.browsing.labels import Labels
from selfsight.data.tables import read_columns
from selfsight.embedding.store import alone
from selfsight.errors import DataError, DiskError
from selfsight.report.html import safe


def rows(file: Path) -> dict[str | None, tuple[str | None, str | None]]:
    table = read_columns(file)
    return dict(zip(table["path"], zip(table["label"], table["split"], strict=True), strict=True))


def part_of(collection: Collection, count: int) -> Collection:
    """The first pictures of a collection, as of two indexes that share no others; groups and split are not known."""
    first = {name: getattr(collection, name)[:count] for name in ("names", "paths", "labels")}
    return replace(collection, **first, groups=[None] * count, splits=[None] * count)


def test_labels_of_pictures_that_are_not_here_stay(collection: Collection, tmp_path: Path) -> None:
    Labels(collection, tmp_path / "labels.csv").give(range(64), "all")
    before = rows(tmp_path / "labels.csv")
    few = Labels(part_of(collection, 10), tmp_path / "labels.csv")
    assert few.give([3], "one") == 10
    after = rows(tmp_path / "labels.csv")
    assert after.pop(collection.paths[3]) == ("one", before.pop(collection.paths[3])[1])
    assert after == before
    told = [*csv.reader(io.StringIO(few.told().decode(), newline=""))]  # those that are here
    assert len(told) == 11
    assert told[4][:3] == ["3", collection.names[3], "one"]


def test_groups_stay_with_their_pictures(collection: Collection, tmp_path: Path) -> None:
    """Else training on the table would hold out one picture of a patient and learn from another."""
    groups = ["one patient", "one patient", *[None] * 62]
    Labels(replace(collection, groups=groups), tmp_path / "labels.csv").give([0], "odd")
    written = read_columns(tmp_path / "labels.csv")
    assert [*written] == ["path", "label", "group", "split"]
    assert [group or None for group in written["group"]] == groups
    few = Labels(part_of(collection, 1), tmp_path / "labels.csv")  # to which no group is known
    few.give([0], "even")
    assert read_columns(tmp_path / "labels.csv")["group"] == written["group"]
    assert few.told().splitlines()[0] == b"id,name,label,split"  # a group may be called by a path, which is not told


def test_columns_of_others_stay(collection: Collection, tmp_path: Path) -> None:
    labels = Labels(collection, tmp_path / "labels.csv")
    labels.give([0], "odd")
    cameras = {path: f"camera {number % 3 or ''}".strip() for number, path in enumerate(collection.paths)}
    cameras |= {"/elsewhere.png": "mine", collection.paths[5]: ""}
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("camera", "path", "empty"), *((own, path, "") for path, own in cameras.items())])
    labels.give([1], "even")
    written = read_columns(tmp_path / "labels.csv")
    assert [*written] == ["path", "label", "split", "camera", "empty"]
    assert {path: own or "" for path, own in zip(written["path"], written["camera"], strict=True)} == cameras
    assert written["label"][:3] == [None, "even", None]  # what the file says holds
    assert labels.told().splitlines()[0] == b"id,name,label,split"


WRITTEN = ["猫\u3000犬", "10\u00a0km", "می\u200cروم", "\U0001f469\u200d\U0001f4bb", "Screenshot 9.41\u202fAM.png"]


@pytest.mark.parametrize("label", WRITTEN)
def test_signs_that_people_write_are_no_control_characters(collection: Collection, tmp_path: Path, label: str) -> None:
    Labels(collection, tmp_path / "labels.csv").give([0], label)
    assert Labels(collection, tmp_path / "labels.csv").given[0] == label
    assert safe(label) == label == cli._sentence(DataError(label))


@pytest.mark.parametrize("sign", "\x07\x1b\n\x85\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\udcff")
def test_signs_that_change_what_is_beside_them_are(collection: Collection, tmp_path: Path, sign: str) -> None:
    with pytest.raises(DataError, match="no control characters"):
        Labels(collection, tmp_path / "labels.csv").give([0], f"a{sign}b")
    assert sign == "\n" or sign not in safe(sign) + cli._sentence(DataError(f"a{sign}b"))


def test_two_servers_keep_each_others_labels(collection: Collection, tmp_path: Path) -> None:
    one, other = (Labels(collection, tmp_path / "labels.csv") for _ in range(2))
    one.give([0, 1], "first")
    other.give([1, 2], "second")
    assert one.told() == other.told()
    assert one.given[:3] == ["first", "second", "second"]
    assert one.values[-2:] == ["first", "second"]
    with alone(tmp_path), pytest.raises(DiskError, match="being written by another server"):
        one.give([0], "third")
    assert one.given[0] == "first"


def test_pictures_that_were_moved_keep_their_labels(collection: Collection, tmp_path: Path) -> None:
    paths = [str(tmp_path / "before" / name) for name in collection.names[:-1]]
    before = replace(collection, paths=[*paths, collection.paths[-1]])
    Labels(before, tmp_path / "labels.csv").give([0, 63], "odd")
    now = Labels(replace(collection, paths=[*collection.paths[:-1], "/elsewhere"]), tmp_path / "labels.csv")
    assert now.given[:2] == ["odd", "china"]
    now.give([1], "other")
    assert set(rows(tmp_path / "labels.csv")) == {*collection.paths, "/elsewhere"}  # the last is still there


def test_a_name_that_ends_in_a_blank_is_one_picture(collection: Collection, tmp_path: Path) -> None:
    odd = replace(collection, paths=[f"{path} " for path in collection.paths])
    Labels(odd, tmp_path / "labels.csv").give([0], "odd")
    again = Labels(odd, tmp_path / "labels.csv")
    assert again.given[0] == "odd"
    assert len(again.told().splitlines()) == len((tmp_path / "labels.csv").read_bytes().splitlines())


@pytest.mark.parametrize("content", [b"path,label\n\0", b"picture,label\na.png,one\n"])
def test_a_file_that_was_damaged_meanwhile_is_named_without_its_place(
    collection: Collection, tmp_path: Path, content: bytes
) -> None:
    labels = Labels(collection, tmp_path / "labels.csv")
    labels.give([0], "one")
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read any more") as error:
        labels.give([1], "other")
    assert str(tmp_path) not in str(error.value)
