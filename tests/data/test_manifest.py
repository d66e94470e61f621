"""The table of a data set: stable order, honest split, a digest that notices, a file that survives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

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
    assert before.difference(scan(find(tmp_path))) == "the pictures changed: '002.png' has other contents"
    (tmp_path / "002.png").unlink()
    (tmp_path / "003.png").unlink()
    after = scan(find(tmp_path))
    assert before.difference(after) == "the pictures changed: '002.png' (and 1 more) is gone"
    assert before.digest() != after.digest()
    labelled = replace(before, labels=np.zeros(4, np.int64), classes=("cat",))
    assert before.difference(labelled) == "the pictures changed: '000.png' (and 3 more) has another label"


def test_copies_and_groups_go_one_way_together(tmp_path: Path) -> None:
    """A copy of a picture in another group ties the two groups; so does a copy that has no group."""
    listing = find(write(tmp_path, 60))
    rows = [row._replace(group=None if i % 6 == 5 else str(i // 6)) for i, row in enumerate(listing.rows)]
    for group in range(0, 10, 2):
        (tmp_path / f"{group * 6 + 6:03d}.png").write_bytes((tmp_path / f"{group * 6:03d}.png").read_bytes())
        (tmp_path / f"{group * 6 + 5:03d}.png").write_bytes((tmp_path / f"{group * 6 + 1:03d}.png").read_bytes())
    sides = set()
    for seed in range(8):
        manifest = scan(replace(listing, rows=tuple(rows)), seed=seed)
        for first in range(0, 60, 12):
            tied = [first + i for i in range(11)]  # two groups and the ungrouped copy; the twelfth is on its own
            assert len(set(manifest.test[tied].tolist())) == 1
            sides.add(bool(manifest.test[first]))
    assert sides == {False, True}


def test_a_group_is_hashed_the_same_however_many_sources_are_joined(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, 40, shift=100 * (name == "two"))
        lines = [f"{i:03d}.png,g{i // 2}" for i in range(40)]
        (tmp_path / name / "labels.csv").write_text("\n".join(["path,group", *lines]))
    alone = scan(find(tmp_path / "one"))
    joined = scan(find([tmp_path / "one", tmp_path / "two"]))
    np.testing.assert_array_equal(joined.test[:40], alone.test)
    assert len(set(joined.groups.tolist())) == 40  # g0 of one is not g0 of two


def test_a_copy_follows_the_declared_part_with_its_whole_group(tmp_path: Path) -> None:
    write(tmp_path / "one", 2)
    write(tmp_path / "two", 4)
    (tmp_path / "one/labels.csv").write_text("path,split\n000.png,test\n001.png,train\n")
    (tmp_path / "two/labels.csv").write_text("path,group\n000.png,a\n001.png,b\n002.png,a\n003.png,b\n")
    for seed in range(4):
        manifest = scan(find([tmp_path / "one", tmp_path / "two"]), seed=seed)
        assert manifest.test.tolist() == [True, False, True, False, True, False]


def test_use_all_trains_on_a_declared_test_part_that_keeps_its_mark(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "labels.csv").write_text("path,split\n000.png,test\n001.png,train\n002.png,test\n")
    manifest = scan(find(tmp_path), use_all=True)
    manifest.save(tmp_path / "manifest.parquet")
    for one in (manifest, Manifest.load(tmp_path / "manifest.parquet")):
        assert one.train_rows().tolist() == [0, 1, 2]
        assert one.test_rows().tolist() == [0, 2]
        assert one.use_all
    assert scan(find(tmp_path)).train_rows().tolist() == [1]


def test_taking_some_rows_keeps_them_whole(tmp_path: Path) -> None:
    manifest = scan(find(write(tmp_path, 9)))
    some = manifest.taking(np.array([1, 4]))
    assert some.names == ("001.png", "004.png")
    assert some.digests == (manifest.digests[1], manifest.digests[4])
    assert some.widths.tolist() == manifest.widths[[1, 4]].tolist()


def test_saving_leaves_the_old_file_when_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = scan(find(write(tmp_path / "in", 3)))
    manifest.save(tmp_path / "manifest.parquet")

    def full(file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        manifest.taking(np.array([0])).save(tmp_path / "manifest.parquet")
    assert len(Manifest.load(tmp_path / "manifest.parquet")) == 3


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """At random places, and at every bit in and around the digest itself."""
    manifest = scan(find(write(tmp_path, 3)))
    file = tmp_path / "manifest.parquet"
    manifest.save(file)
    whole = file.read_bytes()
    own = 8 * whole.rindex(b"sha256")
    anywhere = np.random.default_rng(0).integers(0, len(whole) * 8, 300)
    for bit in [*anywhere, *range(own - 96, own + 640)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="is not a manifest"):
            Manifest.load(file)
    file.write_bytes(whole)
    assert manifest.difference(Manifest.load(file)) is None


def test_a_listing_without_a_digest_is_read(tmp_path: Path) -> None:
    """As an older Selfsight wrote it."""
    manifest = scan(find(write(tmp_path, 3)))
    file = tmp_path / "manifest.parquet"
    manifest.save(file)
    table = parquet.read_table(file)
    told = {key: value for key, value in table.schema.metadata.items() if key != b"sha256"}
    parquet.write_table(table.replace_schema_metadata(told), file)
    assert manifest.difference(Manifest.load(file)) is None
