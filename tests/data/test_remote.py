"""Shards elsewhere: read by range from a real server and from an object store, kept here, asked again, never wrong."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from ranged_server import Server, serving

from selfsight import cli, distributed
from selfsight.data import pack as packing
from selfsight.data import remote, shards, source
from selfsight.data.manifest import scan
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import PixelFormat
from selfsight.errors import AddressError, DataError, MissingError

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    packing.pack(source.find(photos), folder / "set", most=60_000)
    return folder


@pytest.fixture
def server(home: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(Path(shutil.copytree(home, tmp_path / "served"))) as one:
        yield one


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[str]:
    """A local object store that holds the shards."""
    moto = ThreadedMotoServer("127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        system.put(str(home / "set"), "bucket/set", recursive=True)
        yield "s3://bucket/set"
    moto.stop()


def in_memory(home: Path) -> str:
    fsspec.filesystem("memory").put(str(home / "set"), "/set", recursive=True)
    return "memory://set"


def test_a_server_gives_the_same_pictures_by_a_few_ranges_and_only_once(server: Server, photos: Path) -> None:
    here, there = scan(source.find(photos)), scan(source.find(f"{server.address}/set/"))
    assert here.difference(there) is None
    assert not server.ranges  # nothing of a shard is read to describe it
    expected = [Pictures(here, PixelFormat()).read(row)[0] for row in range(64)]
    for _ in range(2):
        pictures = Pictures(there, PixelFormat())
        for start in range(0, 64, 16):
            pictures.ahead(np.arange(start, start + 16))
        for row in range(64):
            np.testing.assert_array_equal(pictures.read(row)[0], expected[row])
    shards_ = len(list((server.folder / "set").glob("*.tar")))
    assert shards_ > 2
    assert len(server.ranges) <= shards_ + 3  # neighbours together; a chunk may end inside a shard
    whole = sum(last - first + 1 for _, first, last in server.ranges)
    assert whole < sum(file.stat().st_size for file in (server.folder / "set").glob("*.tar"))


def test_pictures_that_are_read_in_order_are_fetched_together(server: Server) -> None:
    manifest = scan(source.find(f"{server.address}/set"))
    pictures = Pictures(manifest, PixelFormat())
    assert all(pictures.read(row)[1] == row for row in range(0, 64, 3))
    assert len(server.ranges) <= 1 + len(list((server.folder / "set").glob("*.tar")))
    assert all(pictures.read(row)[1] == row for row in range(64))
    assert len(server.ranges) <= 2 + len(list((server.folder / "set").glob("*.tar")))


def test_an_object_store_and_memory_do_as_well(store: str, home: Path, photos: Path) -> None:
    here = scan(source.find(photos))
    for address in (store, f"{store}/packed.parquet", in_memory(home)):
        there = scan(source.find(address))
        assert here.difference(there) is None
        pictures = Pictures(there, PixelFormat())
        pictures.ahead(np.arange(0, 64, 3))
        assert all(pictures.read(row)[1] == row for row in range(0, 64, 7))


def test_a_table_may_name_them_by_their_address(home: Path, tmp_path: Path) -> None:
    """As the tables do that `search` and `browse` write."""
    packed = source.find(in_memory(home))
    named = "".join(f"{path},{label}\n" for path, label in zip(packed.paths, packed.labels, strict=True))
    (tmp_path / "labels.csv").write_text(f"path,label\n{named}")
    found = source.find(tmp_path / "labels.csv")
    assert dict(zip(found.paths, found.labels, strict=True)) == dict(zip(packed.paths, packed.labels, strict=True))
    pictures = Pictures(scan(found), PixelFormat())
    assert [pictures.read(row)[1] for row in (0, 63)] == [0, 63]
    assert len(source.find([tmp_path / "labels.csv", in_memory(home)]).rows) == len(packed.rows)
    (tmp_path / "list.txt").write_text("memory://set/one.png\n")  # of other files, none is fetched
    assert source.find(tmp_path / "list.txt").paths == (f"{tmp_path}/memory://set/one.png",)


def test_what_is_kept_here_is_checked(server: Server, tmp_path: Path) -> None:
    manifest = scan(source.find(f"{server.address}/set"))
    Pictures(manifest, PixelFormat()).read(5)
    (kept,) = (tmp_path / "cache").iterdir()
    place = shards.at(manifest.paths[5])
    assert place is not None
    with open(kept, "r+b") as file:
        file.seek(place.offset + 10)
        file.write(b"\0\0\0\0")
    before = len(server.ranges)
    assert Pictures(manifest, PixelFormat()).read(5)[1] == 5
    assert len(server.ranges) == before + 1
    kept.unlink()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    assert Pictures(manifest, PixelFormat()).read(5)[1] == 5


@pytest.mark.parametrize("way", ["503", "drop", "slow"])
def test_a_server_that_stumbles_is_asked_again(server: Server, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "slow":
        monkeypatch.setattr(remote, "ANSWER", 3.0)
    manifest = scan(source.find(f"{server.address}/set"))
    server.failing, server.way = 2, way
    assert Pictures(manifest, PixelFormat()).read(3)[1] == 3
    server.failing = 99
    with pytest.raises(AddressError, match=r"shard-\d+\.tar.*cannot be reached.*give the same command again"):
        Pictures(manifest, PixelFormat()).read(60)
    assert server.failing in (96, 93)  # aiohttp asks a server that hung up once more by itself


def test_all_tries_together_end_before_ranks_lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that hang, by a clock that nobody waits for."""
    now, limits = [0.0], list[float]()

    def passing(seconds: float) -> None:
        now[0] += seconds

    def hanging(limit: float) -> bytes:
        limits.append(limit)
        passing(limit)
        raise TimeoutError

    monkeypatch.setattr(remote, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=passing))
    with pytest.raises(AddressError, match="no answer in time"):
        remote._patiently("s3://bucket/shard", hanging)
    assert limits == [60, pytest.approx(30, abs=0.1)]
    assert now[0] <= remote.PATIENCE + 1 < distributed.STEP_PATIENCE.total_seconds()


@pytest.mark.parametrize(("harm", "reason"), [("truncated", "truncated"), ("changed", "corrupt"), ("gone", "missing")])
def test_a_shard_that_was_harmed_elsewhere_costs_its_pictures(server: Server, harm: str, reason: str) -> None:
    manifest = scan(source.find(f"{server.address}/set"))
    shard = server.folder / "set" / "shard-000001.tar"
    inside = [row for row, path in enumerate(manifest.paths) if shard.name in path]
    if harm == "truncated":
        shard.write_bytes(shard.read_bytes()[:700])
    elif harm == "changed":
        shard.write_bytes(bytes(one ^ 255 for one in shard.read_bytes()))
    else:
        shard.unlink()
    pictures = Pictures(manifest, PixelFormat(), max_bad=1.0)
    pictures.ahead(np.arange(64))
    assert [row for row in range(64) if pictures.read(row)[1] != row] == inside
    assert {bad.reason for bad in pictures.bad_files} == {reason}


def test_a_wrong_address_is_one_sentence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for address, kind, says in (
        (f"{server.address}/nothing", DataError, "holds no packed.parquet"),
        ("http://127.0.0.1:9/set", AddressError, "cannot be reached"),
        ("http://nobody.invalid/set", AddressError, "cannot be reached"),
        ("gopher://127.0.0.1/set", DataError, "no address that can be read"),
    ):
        with pytest.raises(kind, match=says):
            source.find(address)
        assert cli.main(["inspect", address]) == 2
        shown = capsys.readouterr().err
        assert says in shown
        assert shown.count("\n") == 1


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(MissingError, match=r"cannot be opened: Install adlfs[^;]*$"):
        source.find("abfs://container/set")

    def missing(address: str) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingError, match=r"Install s3fs; pip install 'selfsight\[cloud\]'"):
        source.find("s3://bucket/set")


def test_a_server_without_ranges_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = scan(source.find(f"{server.address}/set"))
    monkeypatch.setattr("ranged_server.re.fullmatch", lambda pattern, text: None)
    with pytest.raises(AddressError, match="a server that knows ranges"):
        Pictures(manifest, PixelFormat()).read(3)
