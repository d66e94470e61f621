"""The table of a data set: stable order, honest split, a digest that notices, a file that survives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.data.manifest import Manifest, scan
from selfsight.data.source import Listing, Row, find
from selfsight.errors import DataError


def write(root: Path, count: int, shift: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((6, 5 + i % 3, 3), shift + i, np.uint8)).save(root / f"{i:03d}.png")
    return root


def test_scan_describes_every_picture(tmp_path: Path) -> None:
    manifest = scan(find(write(tmp_path, 40)))
    assert len(manifest) == 40
    assert manifest.names == tuple(sorted(manifest.names))
    assert manifest.widths.tolist()[:3] == [5, 6, 7]
    assert set(manifest.dtypes) == {"uint8"}
    assert manifest.labels.tolist() == [-1] * 40
    assert len(set(manifest.groups.tolist())) == 40
    assert sorted([*manifest.train_rows(), *manifest.test_rows()]) == list(range(40))


def test_the_held_out_part_is_about_a_fifth_and_does_not_depend_on_the_others(tmp_path: Path) -> None:
    listing = find(write(tmp_path, 200))
    whole = scan(listing)
    assert 0.1 < whole.test.mean() < 0.3
    half = scan(replace(listing, rows=listing.rows[::2]))
    np.testing.assert_array_equal(half.test, whole.test[::2])
    assert scan(listing, use_all=True).test.sum() == 0
    assert (scan(listing, seed=1).test != whole.test).any()


def test_a_group_is_never_cut(tmp_path: Path) -> None:
    listing = find(write(tmp_path, 60))
    rows = tuple(row._replace(group=str(i // 6)) for i, row in enumerate(listing.rows))
    manifest = scan(replace(listing, rows=rows))
    for group in range(10):
        assert len(set(manifest.test[manifest.groups == group].tolist())) == 1


def test_a_copy_of_a_declared_test_picture_never_trains(tmp_path: Path) -> None:
    write(tmp_path / "one", 3)
    write(tmp_path / "two", 3)
    (tmp_path / "one/table.csv").write_text("path,split\n000.png,test\n001.png,train\n002.png,test\n")
    manifest = scan(find([tmp_path / "one/table.csv", tmp_path / "two"]), holdout=0.0)
    assert manifest.test.tolist() == [True, False, True] * 2


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, 3)
    rows = tuple(Row(str(tmp_path / f"{i:03d}.png"), str(i), label) for i, label in enumerate(["10", "9", "2"]))
    manifest = scan(Listing(rows, ("x",)))
    assert manifest.classes == ("2", "9", "10")
    assert manifest.labels.tolist() == [2, 1, 0]


def test_bad_files_are_listed_with_their_first_bytes(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "page.png").write_bytes(b"<html>not found</html>")
    manifest = scan(find(tmp_path))
    assert len(manifest) == 2
    (bad,) = manifest.bad
    assert (Path(bad.path).name, bad.reason, bad.first_bytes) == ("page.png", "not_an_image", b"<html>not found<")


def test_no_readable_picture_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"none of 1 files can be read as a picture; the first is .*page.png'"):
        scan(find(tmp_path))


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    write(tmp_path / "in", 5)
    (tmp_path / "in/bad.png").write_bytes(b"")
    (tmp_path / "in" / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(
        (tmp_path / "in/000.png").read_bytes()
    )
    manifest = scan(find(tmp_path / "in"))
    manifest.save(tmp_path / "manifest.parquet")
    loaded = Manifest.load(tmp_path / "manifest.parquet")
    assert loaded.paths == manifest.paths
    assert loaded.bad == manifest.bad
    assert loaded.digest() == manifest.digest()
    assert loaded.test.dtype == bool
    assert loaded.labels.dtype == np.int64
    assert manifest.difference(loaded) is None


def test_load_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="is not a manifest"):
        Manifest.load(tmp_path / "x.parquet")


def test_the_place_of_the_folder_does_not_matter(tmp_path: Path) -> None:
    here, there = scan(find(write(tmp_path / "a", 4))), scan(find(write(tmp_path / "b", 4)))
    assert here.digest() == there.digest()
    assert here.difference(there) is None


def test_difference_names_what_changed(tmp_path: Path) -> None:
    before = scan(find(write(tmp_path, 4)))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "002.png")
    assert before.difference(scan(find(tmp_path))) == "the pictures changed: '002.png' has other contents."
    (tmp_path / "002.png").unlink()
    (tmp_path / "003.png").unlink()
    after = scan(find(tmp_path))
    assert before.difference(after) == "the pictures changed: '002.png' (and 1 more) is gone."
    assert before.digest() != after.digest()
    labelled = replace(before, labels=np.zeros(4, np.int64), classes=("cat",))
    assert before.difference(labelled) == "the pictures changed: '000.png' (and 3 more) has another label."
