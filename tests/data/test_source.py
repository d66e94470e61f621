"""DATA in all its forms: folders, lists, tables, several joined; and what is said when it is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from selfsight.data.source import Listing, find
from selfsight.errors import DataError


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


def folder(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        picture(root / name, number)
    return root


def labels(listing: Listing) -> dict[str, str | None]:
    return dict(zip(listing.names, listing.labels, strict=True))


def test_a_flat_folder_is_sorted_and_unlabelled(tmp_path: Path) -> None:
    listing = find(folder(tmp_path, "b.png", "a.png"))
    assert listing.names == ("a.png", "b.png")
    assert listing.paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert listing.labels == (None, None)
    assert listing.splits == (None, None)


def test_sub_folders_are_labels_when_they_look_like_classes(tmp_path: Path) -> None:
    names = [f"photos/{kind}/{i}.png" for kind in ("cat", "dog", "unlabelled") for i in range(2)]
    listing = find(folder(tmp_path, *names))
    assert list(listing.labels) == ["cat", "cat", "dog", "dog", None, None]
    assert "2 sub-folders are labels." in listing.notes


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.png", "b/1.png", "c/1.png"],  # one picture for each folder
        ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "top.png"],  # a picture beside the folders
        ["2024/may/1.png", "2024/june/1.png", "2023/may/1.png", "2023/may/2.png"],  # deeper than one level
    ],
)
def test_other_sub_folders_are_no_labels(tmp_path: Path, names: list[str]) -> None:
    listing = find(folder(tmp_path, *names))
    assert set(listing.labels) == {None}
    assert any("sub-folders are not labels" in note for note in listing.notes)


def test_train_and_test_folders_are_the_split(tmp_path: Path) -> None:
    names = [f"{part}/{kind}/{i}.png" for part in ("train", "Test", "val") for kind in "ab" for i in range(2)]
    listing = find(folder(tmp_path, *names))
    assert set(listing.labels) == {"a", "b"}
    assert {name.split("/")[0] for name, part in zip(listing.names, listing.splits, strict=True) if part == "test"} == {
        "Test"
    }


def test_a_list_file_is_relative_to_its_folder(tmp_path: Path) -> None:
    folder(tmp_path, "in/a.png", "in/b.png")
    (tmp_path / "list.txt").write_text("in/b.png\n\nin/a.png\nin/b.png\n")
    listing = find(tmp_path / "list.txt")
    assert listing.names == ("in/a.png", "in/b.png")
    assert "1 entries of the list 'list.txt' name a picture again; its first entry counts." in listing.notes


TABLE = "path,label,kind,group,split\nb.png,,x,g1,test\na.png,cat,y,,\n"


def test_a_table_says_label_group_and_split(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    listing = find(tmp_path / "table.csv")
    assert listing.rows[0][1:] == ("a.png", "cat", None, "train", 0, None)
    assert listing.rows[1][1:] == ("b.png", None, "g1", "test", 0, None)
    assert find(tmp_path / "table.csv", label_column="kind").labels == ("y", "x")


def test_columns_of_a_run_may_be_lacking_in_other_pictures(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    asked = {"label_column": "kind", "group_column": "patient", "inherited": ("label", "group", "split")}
    (first, second) = find(tmp_path / "table.csv", **asked).rows
    assert (first.label, second.label, second.group) == ("y", "x", "g1")
    assert find(folder(tmp_path / "in", "a.png"), **asked).labels == (None,)
    with pytest.raises(DataError, match="no column 'patient'"):
        find(tmp_path / "table.csv", **asked | {"inherited": ("label", "split")})


@pytest.mark.parametrize("text", [TABLE.replace(",", ";"), TABLE.replace(",", "\t"), "\ufeff" + TABLE])
def test_tables_of_other_programs_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    assert labels(find(tmp_path / "table.csv")) == {"a.png": "cat", "b.png": None}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path,label,split,label,,\na.png,cat,train,dog,,\n")
    with pytest.raises(DataError, match="two of its columns are called 'label'; rename one"):
        find(tmp_path / "table.csv")


def test_a_parquet_table_is_read(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"path": ["a.png", "b.png"], "label": [3.0, None]}), tmp_path / "t.parquet")
    assert labels(find(tmp_path / "t.parquet")) == {"a.png": "3", "b.png": None}


def test_a_parquet_table_may_have_columns_of_any_kind(tmp_path: Path) -> None:
    times = pa.array([1, 2], pa.timestamp("ns"))
    odd = {"path": ["a.png", "b.png"], "label": times, "date": pa.array([2**30, 0], pa.date32()), "all": [[1], None]}
    parquet.write_table(pa.table(odd), tmp_path / "t.parquet")
    assert labels(find(tmp_path / "t.parquet"))["b.png"] == "1970-01-01 00:00:00.000000002"
    twice = pa.Table.from_arrays([pa.array(["a.png"]), pa.array(["x"]), pa.array(["y"])], ["path", "label", "label"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(DataError, match="two of its columns are called 'label'"):
        find(tmp_path / "twice.parquet")


def test_a_folder_is_read_through_its_labels(tmp_path: Path) -> None:
    folder(tmp_path, "a.png", "not_listed.png")
    (tmp_path / "labels.csv").write_text("path,label\na.png,cat\n")
    listing = find(tmp_path)
    assert labels(listing) == {"a.png": "cat"}
    assert listing.notes == ("the table 'labels.csv' says which pictures are used.",)


def test_a_labels_csv_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_text("filename,label\na.png,cat\n")
    assert find(tmp_path).notes[0] == "labels.csv has no column 'path' (it has filename, label), so it is not read."


def test_sources_joined_keep_their_labels_apart(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    two = folder(tmp_path / "two", "b/1.png", "b/2.png", "c/1.png", "c/2.png")
    three = folder(tmp_path / "three", "1.png")
    joined = find([one, two, three])
    assert set(joined.labels) == {"one/a", "one/b", "two/b", "two/c", None}
    assert set(find([one, two], shared_labels=True).labels) == {"a", "b", "c"}
    assert joined.titles == ("one", "two", "three")
    assert [row.source for row in joined.rows] == [0] * 4 + [1] * 4 + [2]
    assert joined.names[0] == "one/a/1.png"


def test_no_two_sources_share_a_title(tmp_path: Path) -> None:
    places = [folder(tmp_path / place, "x/1.png", "x/2.png", "y/1.png", "y/2.png") for place in ("a", "b/a", "b/a-2")]
    joined = find(places)
    assert joined.titles == ("a", "a-2", "a-2-3")
    assert len(set(joined.labels)) == 6
    assert len(set(joined.names)) == 12


def test_a_picture_in_two_sources_counts_once(tmp_path: Path) -> None:
    whole = folder(tmp_path, "in/1.png", "in/2.png")
    joined = find([tmp_path / "in", whole])
    assert len(joined.paths) == 2
    assert "2 pictures are named by two sources; they count for the first." in joined.notes


def test_links_out_and_loops_are_not_followed(tmp_path: Path) -> None:
    root = folder(tmp_path / "root", "a.png")
    picture(tmp_path / "secret.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "loop").symlink_to(root)
    (root / "same.png").symlink_to("a.png")
    listing = find(root)
    assert listing.names == ("a.png",)
    assert [(Path(bad.path).name, bad.reason) for bad in listing.refused] == [("out.png", "outside_root")]
    assert any("not entered" in note for note in listing.notes)


def test_a_link_to_a_hidden_store_counts(tmp_path: Path) -> None:
    """As git-annex and data-version tools lay out a folder."""
    picture(tmp_path / ".store/00ff.png")
    (tmp_path / "cat.png").symlink_to(".store/00ff.png")
    assert find(tmp_path).names == ("cat.png",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,label\na.png,x\n", "there is no column 'path'. There are: file, label."),
        ("path,split\na.png,holdout\n", "'holdout' is no part of a split; use train, test or val."),
        ("path,label\na.png\n", "row 2: 1 cells where the header has 2"),
        ("path,label\n,x\n", "entry 1 has no path"),
        ("path,label\n", "names no picture"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError) as error:
        find(tmp_path / "table.csv")
    assert sentence in str(error.value)


def test_a_picture_that_a_table_spells_twice_counts_once(tmp_path: Path) -> None:
    folder(tmp_path, "a.png")
    (tmp_path / "table.csv").write_text(f"path,label\na.png,cat\n./a.png,dog\n{tmp_path}/a.png,cow\n")
    listing = find(tmp_path / "table.csv")
    assert labels(listing) == {"a.png": "cat"}
    assert "2 entries of the table 'table.csv' name a picture again; its first entry counts." in listing.notes


def test_a_misspelt_column_gets_a_guess(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path,texture\na.png,x\n")
    with pytest.raises(DataError, match="Did you mean 'texture'"):
        find(tmp_path / "table.csv", label_column="textur")


def test_nothing_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        find(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find(tmp_path / "photo")
    with pytest.raises(DataError, match=r"holds no packed\.parquet"):
        find("memory://photos")
    with pytest.raises(DataError, match=r"neither a folder.*; put single pictures into a folder or a list"):
        find(picture(tmp_path / "one.png"))
    with pytest.raises(DataError, match=r"no labels\.csv"):
        find(folder(tmp_path / "plain", "a.png"), label_column="kind")
