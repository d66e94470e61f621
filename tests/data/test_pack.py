"""Packed pictures are the pictures that were packed: same order, labels, split and bytes, or a name and a reason."""

from __future__ import annotations

import json
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pyarrow import compute, parquet

from selfsight import api
from selfsight.data import pack as packing
from selfsight.data import shards, source
from selfsight.data.decode import Header
from selfsight.data.known import Known
from selfsight.data.manifest import Described, Manifest, scan
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import PixelFormat
from selfsight.errors import DataError, DiskError, RunError, TrainingError

FEW = 20_000  # bytes of a shard here: some pictures


def packed(data: Path | list[Path], out: Path) -> Path:
    packing.pack(source.find(data), out, most=FEW)
    return out


def same(first: Manifest, second: Manifest) -> None:
    assert first.difference(second) is None
    assert first.digest() == second.digest()
    for name in ("widths", "heights", "channels", "test", "labels", "groups"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.dtypes, first.classes) == (second.dtypes, second.classes)


def test_packed_pictures_are_those_of_the_folder(photos: Path, tmp_path: Path) -> None:
    out = packed(photos, tmp_path / "out")
    assert len(list(out.glob("shard-*.tar"))) > 5
    folder, shards_ = scan(source.find(photos)), scan(source.find(out))
    same(folder, shards_)
    first, second = Pictures(folder, PixelFormat()), Pictures(shards_, PixelFormat())
    for row in (0, 31, 63):
        np.testing.assert_array_equal(first.read(row)[0], second.read(row)[0])


def test_documents_are_packed_as_well(documents: Path, tmp_path: Path) -> None:
    api.pack(documents, tmp_path / "out")
    assert source.kind_of(tmp_path / "out") == "documents"
    listing = source.find(tmp_path / "out", kind="documents")
    same(scan(source.find(documents, kind="documents")), scan(listing))
    with pytest.raises(DataError, match="holds documents"):
        source.find(tmp_path / "out")


def test_shards_are_tar_files_that_webdataset_groups_by_key(photos: Path, tmp_path: Path) -> None:
    out = packed(photos, tmp_path / "out")
    with tarfile.open(out / "shard-000000.tar") as shard:
        names = shard.getnames()
        assert names[:4] == ["000000000.png", "000000000.json", "000000001.png", "000000001.json"]
        member = shard.extractfile("000000001.json")
        assert member is not None
        assert json.load(member) == {"name": "china/001.png", "label": "china", "group": None, "split": None}
        picture = shard.extractfile("000000001.png")
        assert picture is not None
        assert picture.read() == (photos / "china" / "001.png").read_bytes()


def test_shards_are_those_of_the_standard_library_and_the_table_knows_their_places(
    photos: Path, tmp_path: Path
) -> None:
    out = packed(photos, tmp_path / "out")
    table = parquet.read_table(out / "packed.parquet")
    for number, file in enumerate(sorted(out.glob("shard-*.tar"))):
        with tarfile.open(file) as shard, tarfile.open(tmp_path / "twin.tar", "w", format=tarfile.USTAR_FORMAT) as twin:
            members = shard.getmembers()
            for member in members:
                plain = tarfile.TarInfo(member.name)
                plain.size = member.size
                twin.addfile(plain, shard.extractfile(member))
        here = table.filter(compute.equal(table["shard"], number))
        assert here["offset"].to_pylist() == [member.offset_data for member in members[::2]]
        assert (tmp_path / "twin.tar").read_bytes().startswith(file.read_bytes())


def test_a_plan_of_millions_needs_little_memory() -> None:
    header = Header(8, 8, 3, "uint8", "png")
    seen = [Described(source.Row(f"{number}.png", f"{number}.png"), 100, "", header) for number in range(5_000)]
    tracemalloc.start()
    try:
        shards = list(packing._planned(seen, 1 << 20))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 30 * len(seen)
    assert sum(len(shard.offsets) for shard in shards) == len(seen)


def test_all_columns_of_a_table_come_along(photos: Path, tmp_path: Path) -> None:
    names = [f"{name}/{number:03d}.png" for name in ("china", "flower") for number in range(8)]
    lines = [f"{photos / name},{i % 3},{i // 2},{'test' if i < 4 else 'train'},{i % 2}" for i, name in enumerate(names)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["path,label,group,split,camera", *lines]))
    api.pack(table, tmp_path / "out")
    for columns in ({}, {"label_column": "camera"}, {"label_column": "camera", "group_column": "label"}):
        same(scan(source.find(table, **columns)), scan(source.find(tmp_path / "out", **columns)))
    with pytest.raises(DataError, match="Did you mean 'camera'"):
        source.find(tmp_path / "out", label_column="kamera")


def test_columns_that_shards_have_of_their_own_are_told(photos: Path, tmp_path: Path) -> None:
    lines = [f"{photos}/china/{number:03d}.png,{number},cat,{number % 2}" for number in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["path,width,label,camera", *lines]))
    assert api.pack(tmp_path / "table.csv", tmp_path / "out", label_column="camera")["left_out"] == ["width", "label"]
    assert api.pack(tmp_path / "out", tmp_path / "again")["left_out"] == []


def test_joined_sources_keep_their_names_labels_and_groups(photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(photos / "china", tmp_path / name)
        lines = [f"{i:03d}.png,a,g{i // 2}" for i in range(32)]
        (tmp_path / name / "labels.csv").write_text("\n".join(["path,label,group", *lines]))
    both = [tmp_path / "one", tmp_path / "two"]
    same(scan(source.find(both)), scan(source.find(packed(both, tmp_path / "out"))))
    third = Path(shutil.copytree(photos / "flower", tmp_path / "third"))
    joined = scan(source.find([tmp_path / "out", third]))
    assert len(set(joined.groups.tolist())) == 32 + 32  # g0 of one is not g0 of two


def test_a_file_that_is_no_picture_is_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    (data / "china" / "page.png").write_bytes(b"<html>")
    told = api.pack(data, tmp_path / "out")
    assert (told["pictures"], told["unreadable"]) == (64, 1)
    assert "page.png" in (tmp_path / "out" / "bad_files.csv").read_text()
    assert len(scan(source.find(tmp_path / "out"))) == 64


def test_a_stopped_pack_is_completed_and_a_finished_one_checked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = packed(photos, tmp_path / "whole"), tmp_path / "out"
    honest, written = packing._write, list[str]()

    def stop(file: Path, pieces: object) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(file.name)
        honest(file, pieces)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        packed(photos, out)
    assert sorted(path.name for path in out.iterdir()) == written
    with pytest.raises(DataError, match="holds no picture"):
        source.find(out)
    monkeypatch.setattr(packing, "_write", honest)
    (out / "shard-000001.tar").write_bytes(b"damaged")
    (out / "shard-000002.tar.tmp-999999999").write_bytes(b"half")
    told = packing.pack(source.find(photos), out, most=FEW)
    assert told["kept"] == 2
    for file in whole.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert len(list(out.iterdir())) == len(list(whole.iterdir()))
    told = packing.pack(source.find(photos), out, most=FEW)
    assert told["kept"] == told["shards"]
    again = packing.pack(source.find(out), tmp_path / "again", most=FEW)
    assert again["pictures"] == 64
    assert (tmp_path / "again" / "shard-000003.tar").read_bytes() == (out / "shard-000003.tar").read_bytes()


def test_a_folder_of_other_things_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not an empty folder"):
        packed(photos, tmp_path / "out")
    packed(photos, tmp_path / "other")
    with pytest.raises(RunError, match="holds other pictures"):
        packed(photos / "china", tmp_path / "other")
    assert len(scan(source.find(tmp_path / "other"))) == 64


def test_shards_of_a_stranger_are_refused_and_stay(photos: Path, tmp_path: Path) -> None:
    """WebDataset's own writer names shards as we do, and tells a time and a user."""
    out = tmp_path / "out"
    out.mkdir()
    for number in range(3):
        with tarfile.open(out / f"shard-{number:06d}.tar", "w") as shard:
            shard.add(photos / "china" / "001.png", "000000000.png")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(RunError, match="holds shards that Selfsight did not write"):
        packed(photos, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_damaged_table_is_made_anew_once_it_is_removed(photos: Path, tmp_path: Path) -> None:
    out = packed(photos, tmp_path / "out")
    table = out / "packed.parquet"
    honest = table.read_bytes()
    table.write_bytes(honest[:100] + bytes([honest[100] ^ 1]) + honest[101:])
    with pytest.raises(RunError, match=r"packed\.parquet' is damaged; remove it and give the same command again"):
        packed(photos, out)
    table.unlink()
    packed(photos, out)
    assert table.read_bytes() == honest


def test_a_table_of_another_pyarrow_stays_as_it_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the digest and the table would leave two that do not fit."""
    out = packed(photos, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    honest = parquet.write_table
    monkeypatch.setattr(parquet, "write_table", lambda *given: honest(*given, compression="zstd"))
    packed(photos, out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_disk_that_is_full_costs_the_shard_not_the_others(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, files = packing.os.fsync, list[int]()

    def full(handle: int) -> None:
        files.append(handle)
        if len(files) == 3:
            raise OSError(28, "No space left on device")
        honest(handle)

    monkeypatch.setattr(packing.os, "fsync", full)
    monkeypatch.setattr(Known, "keep", lambda *_: None)  # it writes as well, once the pictures are some seconds old
    with pytest.raises(DiskError, match="finished shards are kept"):
        packed(photos, tmp_path / "out")
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["shard-000000.tar", "shard-000001.tar"]


def test_a_picture_that_changes_meanwhile_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    honest = packing.described

    def meanwhile(listing: source.Listing) -> object:
        found = honest(listing)
        shutil.copy(data / "china" / "001.png", data / "china" / "002.png")
        return found

    monkeypatch.setattr(packing, "described", meanwhile)
    with pytest.raises(DataError, match=r"china/002\.png' was changed while"):
        packed(data, tmp_path / "out")


@pytest.mark.parametrize("harm", ["truncated", "changed", "gone"])
def test_a_harmed_shard_costs_its_pictures_and_never_gives_others(harm: str, photos: Path, tmp_path: Path) -> None:
    out = packed(photos, tmp_path / "out")
    manifest = scan(source.find(out))
    shard = out / "shard-000002.tar"
    inside = [row for row, path in enumerate(manifest.paths) if path.startswith(str(shard))]
    if harm == "truncated":
        with open(shard, "r+b") as file:
            file.truncate(4000)
        inside = [row for row in inside if (place := shards.at(manifest.paths[row])) and place.stop > 4000]
    elif harm == "changed":
        place = shards.at(manifest.paths[inside[1]])
        assert place is not None
        data = bytearray(shard.read_bytes())
        data[place.offset + place.length // 2] ^= 1
        shard.write_bytes(data)
        inside = inside[1:2]
    else:
        shard.unlink()
    pictures = Pictures(manifest, PixelFormat(), max_bad=1.0)
    assert [row for row in range(64) if pictures.read(row)[1] != row] == inside
    reason = {"truncated": "truncated", "changed": "corrupt", "gone": "missing"}[harm]
    assert {bad.reason for bad in pictures.bad_files} == {reason}
    assert all(str(shard) in bad.path for bad in pictures.bad_files)
    if harm == "gone":
        strict = Pictures(manifest, PixelFormat(), max_bad=0.01)
        with pytest.raises(TrainingError, match=r"shard-000002\.tar.*missing"):
            strict.read(inside[0])


def test_a_harmed_table_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    out = packed(photos, tmp_path / "out")
    table = out / "packed.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"packed\.parquet' cannot be read"):
        source.find(out)
    parquet.write_table(parquet.read_table(packed(photos, tmp_path / "two") / "packed.parquet").select(["name"]), table)
    with pytest.raises(DataError, match=r"packed\.parquet' cannot be read"):
        source.find(out)
