"""Embeddings on disk: whole or absent, mapped by NumPy, and known to belong to one encoder."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from mortal import FORKED, joined

from selfsight import checkpoints
from selfsight.data.bad import BadFile
from selfsight.data.pictures import Pictures
from selfsight.embedding import store
from selfsight.errors import DiskError, RunError, TrainingError

FACTS = {"encoder": "abc", "run": "/run", "kind": "pictures", "size": 32, "patches": False}
FINAL = {"embeddings.npy", "embeddings.parquet", "embeddings.json", "bad_files.csv"}


def killed(folder: Path) -> None:
    """In a forked process: it dies while it writes."""

    def dying() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield np.ones((1000, 64), np.float32), np.arange(1000)
        os.kill(os.getpid(), signal.SIGKILL)

    store.write(folder, dying(), pictures(0), {})


def pictures(count: int = 10) -> Pictures:
    """The parts of `Pictures` that a name, a label and a bad file come from."""
    names, labels = [f"{row}.png" for row in range(count)], np.arange(count) % 3 - 1
    paths, digests = [f"/pictures/{name}" for name in names], [f"digest of {name}" for name in names]
    manifest = SimpleNamespace(names=names, labels=labels, classes=("cat", "dog"), paths=paths, digests=digests)
    return cast(Pictures, SimpleNamespace(manifest=manifest, bad_files=[BadFile("4.png", "truncated")]))


def parts(*rows: list[int], width: tuple[int, ...] = (5,)) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors that are all their row's number."""
    for some in rows:
        yield np.ones((len(some), *width), np.float32) * np.reshape(some, (-1, *[1] * len(width))), np.array(some)


@pytest.mark.parametrize("width", [(5,), (7, 3)])
def test_parts_become_one_array_that_can_be_mapped(tmp_path: Path, width: tuple[int, ...]) -> None:
    folder = store.write(tmp_path / "out", parts([7, 1], [2], [0, 9], width=width), pictures(), FACTS)
    mapped = np.load(folder / "embeddings.npy", mmap_mode="r")
    assert mapped.shape == (5, *width)
    assert mapped.dtype == np.float32
    assert mapped.reshape(5, -1)[:, 0].tolist() == [7, 1, 2, 0, 9]
    table = parquet.read_table(folder / "embeddings.parquet").to_pydict()
    assert table["path"] == ["7.png", "1.png", "2.png", "0.png", "9.png"]
    assert table["label"] == ["cat", "cat", "dog", None, None]
    assert table["row"] == [0, 1, 2, 3, 4]
    assert table["file"][:2] == [b"/pictures/7.png", b"/pictures/1.png"]
    assert table["digest"][4] == "digest of 9.png"
    np.testing.assert_allclose(table["length"], np.linalg.norm(mapped.reshape(5, -1), axis=1), rtol=1e-6)
    known = json.loads((folder / "embeddings.json").read_text())
    assert len(known.pop("table")) == 32
    assert known.pop("array") == zlib.crc32((folder / "embeddings.npy").read_bytes())
    assert len(known.pop("sha256")) == 64
    assert known == FACTS | {"count": 5, "width": width[-1], "shape": [5, *width], "dtype": "float32"}
    assert "4.png" in (folder / "bad_files.csv").read_text()
    assert {path.name for path in folder.iterdir()} == FINAL


def test_no_vector_is_an_empty_array(tmp_path: Path) -> None:
    store.write(tmp_path, parts(), pictures(), FACTS)
    assert len(np.load(tmp_path / "embeddings.npy")) == 0


@pytest.mark.parametrize("shape", [[0, 0], [1, 512], [10**12, 196, 10**5]])
def test_every_header_has_the_same_length_and_numpy_reads_it(shape: list[int], tmp_path: Path) -> None:
    header = store._header(shape)
    assert len(header) == store.HEADER
    (tmp_path / "header").write_bytes(header)
    with open(tmp_path / "header", "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == (tuple(shape), False, np.dtype("<f4"))


def test_a_kill_leaves_nothing_under_the_final_names_and_the_next_time_clears_up(tmp_path: Path) -> None:
    child = FORKED.Process(target=killed, args=(tmp_path,))
    child.start()
    assert joined(child) == [-signal.SIGKILL]
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith("embeddings.npy.tmp-")
    store.write(tmp_path, parts([1]), pictures(), FACTS)
    assert {path.name for path in tmp_path.iterdir()} == FINAL


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TrainingError("too many")])
def test_a_failure_on_the_way_keeps_the_earlier_vectors(tmp_path: Path, error: Exception) -> None:
    def failing() -> Iterator[Any]:
        yield from parts([5, 6])
        raise error

    store.write(tmp_path, parts([1, 2, 3]), pictures(), FACTS)
    with pytest.raises(DiskError if isinstance(error, OSError) else TrainingError):
        store.write(tmp_path, failing(), pictures(), FACTS | {"encoder": "other"})
    assert np.load(tmp_path / "embeddings.npy")[:, 0].tolist() == [1, 2, 3]
    assert json.loads((tmp_path / "embeddings.json").read_text())["encoder"] == "abc"
    assert {path.name for path in tmp_path.iterdir()} == FINAL


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="choose another --out"):
        store.write(tmp_path / "file" / "out", parts([1]), pictures(), FACTS)


def test_memory_holds_a_part_not_the_whole(tmp_path: Path) -> None:
    width, each, count = 256, 200, 40  # 8 MB in all, 0.2 MB a part

    def many() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in range(count):
            yield np.zeros((each, width), np.float32), np.arange(part * each, (part + 1) * each)

    its = pictures(each * count)
    tracemalloc.start()
    store.write(tmp_path, many(), its, FACTS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert os.path.getsize(tmp_path / "embeddings.npy") == store.HEADER + 4 * width * each * count
    assert peak < 0.5 * 4 * width * each * count


def test_the_digest_is_the_encoders(tmp_path: Path) -> None:
    contents = {"config.json": b"{}", "model.safetensors": b"weights", "preprocess.json": b"[]"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    first = store.digest(tmp_path)
    assert first == sha256(b"".join(contents.values())).hexdigest()
    (tmp_path / "preprocess.json").write_bytes(b"[1]")
    assert store.digest(tmp_path) != first


@pytest.mark.parametrize("spoil", ["row", "file"])
def test_a_table_without_what_ours_has_is_damaged(spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.write(tmp_path / "out", parts([7, 1]), pictures(), FACTS)
    table = parquet.read_table(folder / store.TABLE)
    at = table.column_names.index(spoil)
    other = table.remove_column(at)
    if spoil == "file":
        other = table.set_column(at, spoil, pyarrow.nulls(2, pyarrow.binary()))
    parquet.write_table(other, folder / store.TABLE)
    told = checkpoints.entries(folder / store.FACTS) | {"table": store._hash((folder / store.TABLE).read_bytes())}
    (folder / store.FACTS).write_bytes(checkpoints.signed(told))
    monkeypatch.setattr(store, "PAUSE", 0.0)
    with pytest.raises(RunError, match="are damaged or of an older Selfsight"):
        store.read(folder)
