"""A folder of 288 hostile entries (see tests/battery): every file right, nothing hangs, nothing leaves the folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfsight.data import source
from selfsight.data.manifest import scan

BATTERY = Path(__file__).parents[1] / "battery"


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("battery") / "dirty"
    command = [sys.executable, str(BATTERY / "make_dirty_images.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def entries(dirty: Path) -> dict[str, dict[str, str]]:
    listed = json.loads(Path(f"{dirty}.manifest.json").read_text())["entries"]
    return {os.fsdecode(base64.b64decode(entry["path_b64"])): entry for entry in listed}


def test_every_file_is_right(dirty: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BATTERY / "probe_dirty.py"), f"{dirty}.manifest.json", "--loader", "dirty:load"]
    path = str(Path(__file__).parents[2] / "benchmarks")
    outcome = subprocess.run(
        [*command, "--timeout", "20", "--json", str(tmp_path / "outcome.json")],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    results = json.loads((tmp_path / "outcome.json").read_text())
    assert len(results) > 200
    assert [one["path"] for one in results if one["verdict"] != "pass"] == [], outcome.stdout
    # A path handed to the opener has no root; what lies outside is refused by the scan.
    wrong = [
        (one["path"], one["want_reason"], one["reason"])
        for one in results
        if one["status"] == "raised" and one["want_reason"] not in (None, "outside_root", one["reason"])
    ]
    assert wrong == []


def test_the_scan_lists_what_is_there_once(dirty: Path, entries: dict[str, dict[str, str]]) -> None:
    listing = source.find(dirty)
    names = set(listing.names)
    expected = {name for name, entry in entries.items() if entry["expect"] == "ok"}
    ignored = {
        name for name, entry in entries.items() if entry["expect"] == "ignore" and entry["reason"] != "unreadable"
    }
    assert expected <= names
    assert not ignored & names
    assert len({os.path.realpath(path) for path in listing.paths}) == len(listing.paths)
    assert all(os.path.realpath(path).startswith(f"{os.path.realpath(dirty)}/") for path in listing.paths)


def test_the_scan_names_what_it_refuses(dirty: Path, entries: dict[str, dict[str, str]]) -> None:
    listing = source.find(dirty)
    reasons = {os.path.relpath(bad.path, dirty): bad.reason for bad in listing.refused}
    for name, entry in entries.items():
        if entry["reason"] in ("missing", "symlink_loop", "outside_root", "special_file"):
            assert reasons[name] == entry["reason"], name


def test_a_dirty_folder_is_scanned_saved_and_loaded(dirty: Path, tmp_path: Path) -> None:
    """Names that are not UTF-8, or that spreadsheets would run, survive."""
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import write_bad_files

    manifest = scan(source.find(dirty))
    manifest.save(tmp_path / "manifest.parquet")
    loaded = Manifest.load(tmp_path / "manifest.parquet")
    assert loaded.digest() == manifest.digest()
    assert loaded.paths == manifest.paths
    assert loaded.bad == manifest.bad
    write_bad_files(tmp_path / "bad_files.csv", manifest.bad)
    assert (tmp_path / "bad_files.csv").read_text(encoding="utf-8").startswith("path,reason,detail,first_bytes")
