"""What a scan has read is not read again, until anything about the file says that it may be another."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.data import cache, kinds, known, tables
from selfsight.data.known import Known
from selfsight.data.manifest import Manifest, scan
from selfsight.data.source import find

COUNT = 70


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that were read; the cache is the test's own."""
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_most", lambda place, used: 1 << 40)  # however full the disk is
    monkeypatch.setattr(known, "FRESH", -(10**9))  # files that were written just now are old enough
    names: list[str] = []
    honest = kinds.KINDS["pictures"].read

    def read(path: str) -> bytes:
        names.append(Path(path).name)
        return honest(path)

    object.__setattr__(kinds.KINDS["pictures"], "read", read)
    yield names
    object.__setattr__(kinds.KINDS["pictures"], "read", honest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((4, 5 + number % 3, 3), number, np.uint8)).save(tmp_path / "in" / f"{number:02d}.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "in" / os.fsdecode(b"\xff.png"))
    return tmp_path / "in"


def scanned(folder: Path, opened: list[str], *, anew: bool = False) -> tuple[Manifest, int]:
    opened.clear()
    return scan(find(folder), anew=anew), len(opened)


def same(one: Manifest, other: Manifest) -> bool:
    arrays = ("labels", "groups", "test", "widths", "heights", "channels")
    texts = ("paths", "names", "digests", "dtypes", "classes")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays) and all(
        getattr(one, name) == getattr(other, name) for name in texts
    )


def test_a_second_scan_reads_nothing_and_finds_the_same(folder: Path, opened: list[str]) -> None:
    first, read = scanned(folder, opened)
    assert read == COUNT + 1
    second, again = scanned(folder, opened)
    assert again == 0
    assert same(first, second)
    assert scanned(folder, opened, anew=True)[1] == COUNT + 1


def test_what_changed_is_read_again(folder: Path, opened: list[str]) -> None:
    """Other bytes of the same length with the old times back on them are still another file."""
    before, _ = scanned(folder, opened)
    victim = folder / "03.png"
    stat, data = victim.stat(), bytearray(victim.read_bytes())
    time.sleep(0.02)
    data[41:] = (folder / "06.png").read_bytes()[41:]  # as wide as 03.png, and another colour
    assert len(data) == stat.st_size
    victim.write_bytes(data)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after, read = scanned(folder, opened)
    assert opened == ["03.png"]
    assert read == 1
    assert before.difference(after) == "the pictures changed: '03.png' has other contents"


def test_a_file_that_was_just_written_is_not_trusted(
    folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "FRESH", 10**12)
    assert [scanned(folder, opened)[1] for _ in range(2)] == [COUNT + 1] * 2


def test_a_damaged_table_is_no_table(folder: Path, opened: list[str], tmp_path: Path) -> None:
    scanned(folder, opened)
    (table,) = (tmp_path / "cache").glob("known-*")
    content = table.read_bytes()
    for place in (0, len(content) // 2, -1):
        spoiled = bytearray(content)
        spoiled[place] ^= 1
        table.write_bytes(spoiled)
        assert scanned(folder, opened)[1] == COUNT + 1
    shutil.rmtree(tmp_path / "cache")
    assert scanned(folder, opened)[1] == COUNT + 1


def test_new_files_join_what_is_known_and_a_broken_one_never_does(folder: Path, opened: list[str]) -> None:
    scanned(folder, opened)
    for number in range(known.WORTH):
        shutil.copy(folder / "00.png", folder / f"new-{number:02d}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert scanned(folder, opened)[1] == known.WORTH + 1
    found, read = scanned(folder, opened)
    assert opened == ["broken.png"]
    assert read == 1
    assert [Path(bad.path).name for bad in found.bad] == ["broken.png"]


def test_arrow_holds_no_memory_of_pythons() -> None:
    """Its threads would give that back at any time; while the interpreter ends, that aborts the process."""
    content = bytes(range(256)) * 99
    held = sys.getrefcount(content)
    opened = tables.reader(content)
    assert sys.getrefcount(content) == held
    assert opened.read() == content


def test_files_and_addresses_may_be_mixed(folder: Path, tmp_path: Path) -> None:
    rows = [*find(folder).rows, find(folder).rows[0]._replace(path="s3://shards/000000.tar#1")]
    assert all(row.seen is None for row in Known(rows, "pictures").recalled(rows))
