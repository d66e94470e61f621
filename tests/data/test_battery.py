"""A folder of 288 hostile entries (see tests/battery): every file right, nothing hangs, nothing leaves the folder."""

from __future__ import annotations

import base64
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from selfsight.data import source
from selfsight.data.manifest import scan

BATTERY = Path(__file__).parents[1] / "battery"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The benchmark that makes the folder and judges what commands say of it."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (BATTERY, BATTERY.parents[1] / "benchmarks"):
            patch.syspath_prepend(place)
        yield importlib.import_module("dirty")


@pytest.fixture(scope="module")
def home(judge: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("battery")
    judge.made(place)
    return place


@pytest.fixture(scope="module")
def dirty(home: Path) -> Path:
    return home / "dirty"


@pytest.fixture(scope="module")
def entries(dirty: Path) -> dict[str, dict[str, str]]:
    listed = json.loads(Path(f"{dirty}.manifest.json").read_text())["entries"]
    return {os.fsdecode(base64.b64decode(entry["path_b64"])): entry for entry in listed}


def test_every_command_judges_every_file_right(judge: ModuleType, home: Path) -> None:
    """Alike: the opener, inspect, train, embed, search and browse. benchmarks/dirty.py measures time and memory."""
    judged = judge.judged(home / "dirty")
    assert len(judged) >= 263
    faults = {name: judge.wrong(judged, part(home / "dirty", home, judged)) for name, part in judge.PARTS.items()}
    assert not any(faults.values()), faults


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
