"""A bad file costs one line, is replaced the same way every time, and stops the run above a tenth."""

from __future__ import annotations

import csv
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.data.bad import BadFile
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import Pictures, add_bad_files, write_bad_files
from selfsight.data.ranges import PixelFormat
from selfsight.data.source import find
from selfsight.errors import TrainingError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    for i in range(40):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / f"{i:02d}.png")
    return scan(find(tmp_path), use_all=True)


def test_a_good_row_is_itself(manifest: Manifest) -> None:
    picture, row = Pictures(manifest, PixelFormat()).read(7)
    assert row == 7
    assert (picture == 7).all()


def test_a_vanished_file_is_replaced_the_same_way_everywhere(manifest: Manifest) -> None:
    Path(manifest.paths[3]).unlink()
    among = np.arange(10, 20)
    first, second = Pictures(manifest, PixelFormat()), Pictures(manifest, PixelFormat())
    with ThreadPoolExecutor(4) as pool:
        rows = {row for _, row in pool.map(lambda _: first.read(3, among), range(50))}
    picture, again = second.read(3, among)
    assert rows == {again}
    assert again in among
    assert (picture == again).all()
    assert [(bad.path, bad.reason) for bad in first.bad_files] == [(manifest.paths[3], "missing")]


def test_above_a_tenth_the_run_stops(manifest: Manifest) -> None:
    pictures = Pictures(manifest, PixelFormat())
    for row in range(5):
        Path(manifest.paths[row]).write_bytes(b"\xff\xd8")
    for row in range(4):
        pictures.read(row)
    with pytest.raises(TrainingError, match=r"5 of 40 files .* more than 10% .*bad_files.csv"):
        pictures.read(4)


def test_what_other_ranks_met_counts_and_is_still_read(manifest: Manifest) -> None:
    pictures, other = Pictures(manifest, PixelFormat()), Pictures(manifest, PixelFormat(), max_bad=1.0)
    whole = np.arange(10, 20)
    for row in range(3, 8):
        Path(manifest.paths[row]).rename(f"{manifest.paths[row]}.away")
    pictures.read(3, whole)
    for row in range(3, 7):
        other.read(row, whole)
    pictures.hear(other.met)
    assert [bad.path for bad in pictures.bad_files] == list(manifest.paths[3:7])
    Path(f"{manifest.paths[4]}.away").rename(manifest.paths[4])
    assert pictures.read(4)[1] == 4
    with pytest.raises(TrainingError, match="5 of 40 files"):
        pictures.read(7, whole)
    other.read(7, whole)
    with pytest.raises(TrainingError, match="5 of 40 files"):
        pictures.hear(other.met)


def test_another_number_of_channels_is_a_bad_file(manifest: Manifest) -> None:
    pictures = Pictures(manifest, PixelFormat(channels=5), max_bad=1.0)
    with pytest.raises(TrainingError, match="no readable picture"):
        pictures.read(0, np.array([1, 2]))
    assert {bad.reason for bad in pictures.bad_files} == {"other_format"}


def test_bad_files_are_written_for_people_and_spreadsheets(tmp_path: Path) -> None:
    names = ["plain.png", "=1+1.png", "new\nline.png", b"\xff.png".decode("utf-8", "surrogateescape")]
    write_bad_files(tmp_path / "bad.csv", [BadFile(name, "truncated", "why", b"\x00\xff") for name in names])
    with open(tmp_path / "bad.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["plain.png", "./=1+1.png", "new\nline.png", "\\udcff.png"]
    assert rows[0]["first_bytes"] == "00ff"


def test_what_an_earlier_process_found_stays_listed(tmp_path: Path) -> None:
    odd = "=1\n\udcff.png"
    write_bad_files(tmp_path / "bad.csv", [BadFile(odd, "empty"), BadFile("a.png", "missing")])
    add_bad_files(tmp_path / "bad.csv", [BadFile("a.png", "truncated"), BadFile("b.png", "empty", "why", b"\x01")])
    with open(tmp_path / "bad.csv", newline="", encoding="utf-8") as file:
        rows = [(row["path"], row["reason"], row["first_bytes"]) for row in csv.DictReader(file)]
    assert rows == [("./=1\n\\udcff.png", "empty", ""), ("a.png", "truncated", ""), ("b.png", "empty", "01")]
    content = (tmp_path / "bad.csv").read_bytes()
    add_bad_files(tmp_path / "bad.csv", [BadFile(odd, "empty")])
    assert (tmp_path / "bad.csv").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_the_list_holds_the_files_that_stopped_the_run(manifest: Manifest, tmp_path: Path) -> None:
    listed = tmp_path / "bad_files.csv"
    pictures = Pictures(manifest, PixelFormat(), noted=listed)
    for row in range(5):
        Path(manifest.paths[row]).write_bytes(b"\xff\xd8")
    with pytest.raises(TrainingError, match="more than 10%"):
        [pictures.read(row) for row in range(5)]
    with open(listed, newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == list(manifest.paths[:5])


def test_a_picture_is_decoded_once(manifest: Manifest) -> None:
    """It stays when its file is gone, for others too, and nobody can write to it."""
    pictures = Pictures(manifest, PixelFormat(), kept=True)
    first = pictures.read(5)[0].copy()
    for path in manifest.paths:
        Path(path).unlink()
    for again in (pictures, Pictures(manifest, PixelFormat(), kept=True)):
        picture, used = again.read(5)
        assert used == 5
        np.testing.assert_array_equal(picture, first)
        assert not picture.flags.writeable


def test_another_picture_under_the_name_is_refused(manifest: Manifest) -> None:
    shutil.copy(manifest.paths[4], manifest.paths[3])
    pictures = Pictures(manifest, PixelFormat())
    assert pictures.read(3)[1] != 3
    assert [(bad.path, bad.reason) for bad in pictures.bad_files] == [(manifest.paths[3], "changed")]
