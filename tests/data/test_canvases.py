"""Decoded pictures on disk: the same pixels for everybody, never too many, and work goes on without them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from selfsight.data import cache, canvases
from selfsight.data.canvases import Canvases, planned
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import PixelFormat
from selfsight.data.shards import content_digest
from selfsight.data.source import find

DEEP = PixelFormat(1, "uint16", 0, 65535)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def manifest(tmp_path: Path, place: Path) -> Manifest:
    generator = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(20):
        Image.fromarray(generator.integers(0, 65536, (40 + i, 70), np.uint16)).save(tmp_path / "in" / f"{i:02d}.png")
    return scan(find(tmp_path / "in"), use_all=True)


def read_all(manifest: Manifest, format: PixelFormat = DEEP, kept: bool = True) -> list[np.ndarray]:
    with ThreadPoolExecutor(4) as pool:
        return [one for one, _ in pool.map(Pictures(manifest, format, kept=kept).read, range(20))]


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(first, second, strict=True))


def test_pixels_keep_their_depth_and_shape(manifest: Manifest) -> None:
    decoded = read_all(manifest, kept=False)
    assert equal(decoded, read_all(manifest))
    for path in manifest.paths:
        Path(path).unlink()
    assert equal(decoded, read_all(manifest))


def test_other_pictures_or_another_format_have_another_file(manifest: Manifest, place: Path) -> None:
    read_all(manifest)
    read_all(manifest, PixelFormat(3, "uint8"))
    assert equal(read_all(manifest.taking(np.arange(20)[::-1])), read_all(manifest, kept=False)[::-1])
    assert len(list(place.iterdir())) == 3


def test_a_place_without_its_checksum_is_empty(manifest: Manifest, place: Path) -> None:
    """As after a power cut: the mark may have come to the disk, and the pixels not."""
    read_all(manifest)
    (file,) = place.iterdir()
    data = bytearray(file.read_bytes())
    data[canvases.PAGE] ^= 1  # in the first picture
    file.write_bytes(data)
    fresh = Canvases(manifest, DEEP)
    assert fresh.get(0) is None
    assert fresh.get(1) is not None
    assert equal(read_all(manifest), read_all(manifest, kept=False))
    assert Canvases(manifest, DEEP).get(0) is not None


def test_room_is_never_exceeded(manifest: Manifest, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir()
    monkeypatch.setattr(cache, "room", lambda needed: max(0, min(needed, 60_000 - taken(place))))
    assert "room for the first 35%" in planned(manifest, DEEP)
    for _ in range(2):
        assert equal(read_all(manifest), read_all(manifest, kept=False))
        assert 30_000 < taken(place) <= 60_000


def test_a_full_disk_is_said_once_and_nothing_else_changes(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, count = os.pwrite, 0

    def full(handle: int, data: bytes, at: int) -> int:
        nonlocal count
        count += 1
        if count > 6:
            raise OSError(28, "No space left on device")
        return honest(handle, data, at)

    monkeypatch.setattr(canvases.os, "pwrite", full)
    pictures, said = Pictures(manifest, DEEP, kept=True), list[str]()
    pictures.say = said.append
    decoded = [pictures.read(row)[0] for row in range(20)]
    assert equal(decoded, read_all(manifest, kept=False))
    assert said == ["decoded pictures are no longer kept (No space left on device); all goes on, with more decoding"]
    assert sum(Canvases(manifest, DEEP).get(row) is not None for row in range(20)) == 3


@pytest.mark.parametrize("place", ["a file", "nowhere"])
def test_a_place_that_cannot_be_written_is_said_in_the_plan(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "a file").write_text("mine")
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "a file" / "below") if place == "a file" else "/proc/nowhere")
    assert planned(manifest, DEEP).startswith("not kept, ")
    assert equal(read_all(manifest), read_all(manifest, kept=False))


def test_what_rests_makes_room_and_what_is_in_use_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(place, old=7200, older=9000, new=60)
    (place / ours("gone")).symlink_to("nowhere")  # as a file that another process removes meanwhile
    monkeypatch.setattr(cache.os, "statvfs", lambda _: disk((6 << 20) - taken(place)))  # others write to the real one
    assert 0.9 * (1 << 20) < cache.room(1 << 20) <= 1 << 20
    assert {path.name for path in place.iterdir()} == set(map(ours, ("gone", "new", "old")))
    cache.room(1 << 24)
    assert {path.name for path in place.iterdir()} == set(map(ours, ("gone", "new")))


def test_what_others_keep_in_the_folder_is_left_alone(
    manifest: Manifest, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all(manifest)
    (mine,) = place.iterdir()
    (place / "folder").mkdir()
    for name in ("thesis.pdf", "shard-000001.tar", "known-good", "folder/answer"):
        (place / name).write_bytes(bytes(1 << 20))
    for path in place.iterdir():
        os.utime(path, (time.time() - 9000,) * 2)
    before = set(place.iterdir())
    monkeypatch.setattr(cache.os, "statvfs", lambda _: disk(0))
    planned(manifest, DEEP)
    assert set(place.iterdir()) == before  # also the file that the plan is about
    os.utime(mine, (time.time() - 9000,) * 2)
    monkeypatch.setattr(cache.os, "statvfs", lambda _: disk(2 << 20))
    assert cache.room(1 << 30) == 1 << 20
    assert set(place.iterdir()) == before - {mine}


def test_a_file_that_somebody_has_open_frees_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(place, one=7200, two=7200, three=7200)
    monkeypatch.setattr(cache.os, "statvfs", lambda _: disk(3 << 20))  # also when they are gone from the folder
    assert cache.room(1 << 24) == 3 << 19
    assert not list(place.iterdir())


def aged(place: Path, **ages: int) -> None:
    """Files of 1 MiB, so many seconds old."""
    place.mkdir()
    for name, age in ages.items():
        (place / ours(name)).write_bytes(bytes(1 << 20))
        os.utime(place / ours(name), (time.time() - age,) * 2)


def ours(name: str) -> str:
    """A name as the cache gives them."""
    return f"answer-{content_digest(name.encode())}"


def taken(place: Path) -> int:
    return sum(file.stat().st_blocks * cache.BLOCK for file in place.iterdir() if file.exists())


def disk(free: int) -> SimpleNamespace:
    """What `statvfs` says of a disk with so many bytes free."""
    return SimpleNamespace(f_bavail=free, f_frsize=1)


def test_large_pictures_are_kept_at_half_their_size(manifest: Manifest, place: Path) -> None:
    """40 + i by 70 pixels of 16 bits: from 48 on one halving leaves 24; what is kept is what is read without."""
    plain = [one for one, _ in map(Pictures(manifest, DEEP, least=24).read, range(20))]
    assert [one.shape for one in plain] == [((40 + i) // 2, 35, 1) if i >= 8 else (40 + i, 70, 1) for i in range(20)]
    full = read_all(manifest, kept=False)
    assert equal(plain[:8], full[:8])
    exact = full[8][:, :, 0].reshape(24, 2, 35, 2).mean((1, 3))
    assert np.abs(plain[8][:, :, 0] - exact).max() <= 0.5
    for _ in range(2):  # decoded, then kept
        assert equal([one for one, _ in map(Pictures(manifest, DEEP, least=24, kept=True).read, range(20))], plain)
    assert Canvases(manifest, DEEP, 24, begin=False).get(8) is not None
    assert Canvases(manifest, DEEP, begin=False).get(8) is None  # the evaluation's, of full size, are others
