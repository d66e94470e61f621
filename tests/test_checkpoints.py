"""Checkpoints appear whole or not at all, and damage anywhere is found."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selfsight import checkpoints
from selfsight.errors import CheckpointError, DiskError

FILES = {"method.safetensors": bytes(range(256)) * 4, "optimizer.safetensors": b"slots"}


def written(folder: Path, *steps: int) -> Path:
    for step in steps:
        last = checkpoints.write(folder, step, {**FILES, "step.txt": str(step).encode()}, {"listing": "abc"})
    return last


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def dead_process() -> int:
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    facts, files = checkpoints.read(written(tmp_path / "new" / "folder", 42))
    assert facts == {"step": 42, "listing": "abc"}
    assert files == {**FILES, "step.txt": b"42"}
    assert (tmp_path / "new" / "folder" / "LATEST").read_text() == "step-00000042\n"


def test_a_checkpoint_obeys_the_umask(tmp_path: Path) -> None:
    """Colleagues on a shared machine can read it (safetensors' own writer uses mode 0600)."""
    before = os.umask(0o022)
    try:
        last = written(tmp_path, 1)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in last.iterdir()} == {0o644}


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_one_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    last = written(tmp_path, 1)
    whole = (last / name).read_bytes()
    for bit in range(0, 8 * len(whole), 37):
        flip(last / name, bit)
        with pytest.raises(CheckpointError, match=r"damaged|incomplete"):
            checkpoints.verify(last)
        (last / name).write_bytes(whole)
    assert checkpoints.verify(last)["step"] == 1


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_or_short_file_is_found(tmp_path: Path, name: str) -> None:
    last = written(tmp_path, 1)
    whole = (last / name).read_bytes()
    (last / name).write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.verify(last)
    (last / name).unlink()
    with pytest.raises(CheckpointError, match=r"incomplete.*missing"):
        checkpoints.verify(last)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'{"facts": 3}', b"\xff\xfe", b'{"files": {"a": 1}}'])
def test_a_manifest_that_is_none_is_found(tmp_path: Path, content: bytes) -> None:
    last = written(tmp_path, 1)
    (last / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.verify(last)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    last = written(tmp_path, 1)
    (tmp_path / "secret").write_bytes(b"x")
    promise = {"bytes": 1, "sha256": checkpoints._sha(b"x")}
    (last / "manifest.json").write_bytes(checkpoints.signed({"facts": {"step": 1}, "files": {"../secret": promise}}))
    with pytest.raises(CheckpointError):
        checkpoints.read(last)


def test_a_checkpoint_under_another_name_is_found(tmp_path: Path) -> None:
    written(tmp_path, 1).rename(tmp_path / "step-00000009")
    with pytest.raises(CheckpointError, match="another step"):
        checkpoints.latest(tmp_path)


def test_the_newest_and_the_one_before_are_kept(tmp_path: Path) -> None:
    written(tmp_path, 1, 2, 3, 4)
    assert checkpoints.steps(tmp_path) == [3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-00000003", "step-00000004"]


def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    last = written(tmp_path, 1, 2)
    flip(last / "method.safetensors", 99)
    with pytest.warns(UserWarning, match=r"step-00000002.*damaged.*going on from step-00000001"):
        assert checkpoints.latest(tmp_path) == tmp_path / "step-00000001"


def test_a_manifest_with_a_name_that_no_file_has_is_damage(tmp_path: Path) -> None:
    last = written(tmp_path, 1)
    told = checkpoints.entries(last / "manifest.json")
    told["files"]["x" * 300] = {"bytes": 0, "sha256": ""}
    (last / "manifest.json").write_bytes(checkpoints.signed(told))
    with pytest.raises(CheckpointError, match="damaged: its manifest cannot be read"):
        checkpoints.verify(last)


def test_none_is_whole_is_an_error_and_none_yet_is_not(tmp_path: Path) -> None:
    assert checkpoints.latest(tmp_path / "none") is None
    assert checkpoints.latest(tmp_path) is None
    flip(written(tmp_path, 1) / "method.safetensors", 3)
    with pytest.raises(CheckpointError, match="no older one is whole"):
        checkpoints.latest(tmp_path)


def test_a_torn_folder_is_ignored_and_cleaned_when_its_process_is_gone(tmp_path: Path) -> None:
    written(tmp_path, 1)
    torn = tmp_path / f"step-00000002.tmp-{dead_process()}"
    torn.mkdir()
    (torn / "method.safetensors").write_bytes(b"half")
    alive = tmp_path / f"step-00000003.tmp-{os.getppid()}"
    alive.mkdir()
    (tmp_path / f"LATEST.tmp-{dead_process()}").write_text("step")
    assert checkpoints.steps(tmp_path) == [1]
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00000001"
    checkpoints.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.tmp-*")) == [alive.name]


def test_writing_a_step_again_replaces_it(tmp_path: Path) -> None:
    flip(written(tmp_path, 1, 2) / "method.safetensors", 5)
    last = checkpoints.write(tmp_path, 2, {"a": b"new"}, {})
    assert checkpoints.read(last)[1] == {"a": b"new"}
    assert not list(tmp_path.glob("*.tmp-*"))


def test_damaged_ones_ahead_do_not_crowd_out_whole_ones(tmp_path: Path) -> None:
    """After a fall-back from damaged steps 20 and 21 to 19, the next saves must not be taken for the old ones."""
    written(tmp_path, 19, 20)
    for step in (20, 21):
        flip(tmp_path / "step-00000020" / "method.safetensors", 5) if step == 20 else None
        if step == 21:
            (tmp_path / "step-00000021").mkdir()
    with pytest.warns(UserWarning, match="going on from step-00000019"):
        newest = checkpoints.latest(tmp_path)
    assert newest is not None
    checkpoints.drop_after(tmp_path, 19)
    assert checkpoints.steps(tmp_path) == [19]
    assert (tmp_path / "LATEST").read_text() == "step-00000019\n"
    written(tmp_path, 20)
    assert checkpoints.steps(tmp_path) == [19, 20]


@pytest.mark.parametrize("cut_off", ["replace_file", "_forget_old"])
def test_what_a_kill_cut_off_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_off: str) -> None:
    """The last save of a run is followed by no other."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    written(tmp_path, 1)
    written(tmp_path, 2)
    monkeypatch.setattr(checkpoints, cut_off, killed)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, 3)
    monkeypatch.undo()
    assert checkpoints.steps(tmp_path) == [1, 2, 3]
    checkpoints.drop_after(tmp_path, 3)
    assert checkpoints.steps(tmp_path) == [2, 3]
    assert (tmp_path / "LATEST").read_text() == "step-00000003\n"


@pytest.mark.parametrize("at", ["write", "mkdir", "rename", "LATEST"])
def test_a_full_disk_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    written(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    places = {"write": (checkpoints, "_write_synced"), "mkdir": (Path, "mkdir"), "rename": (Path, "rename")}
    monkeypatch.setattr(*places.get(at, (checkpoints, "replace_file")), full)
    with pytest.raises(DiskError, match=r"step 2 needs 0.0 MB.*No space left.*free some space"):
        checkpoints.write(tmp_path, 2, FILES, {})
    monkeypatch.undo()
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    assert checkpoints.verify(newest)["step"] == (2 if at == "LATEST" else 1)
    assert not list(tmp_path.glob("*.tmp-*"))


def test_threads_may_write_the_same_small_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: checkpoints.replace_file(tmp_path / "file", b"%03d" % number), range(200)))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_small_file_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "recipe.yaml"
    checkpoints.replace_file(file, b"old")

    def torn(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write_synced", torn)
    with pytest.raises(OSError, match="No space"):
        checkpoints.replace_file(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert file.read_bytes() == b"old"


def test_the_manifest_can_be_checked_by_hand(tmp_path: Path) -> None:
    """`sha256sum` of a file is what the manifest says."""
    last = written(tmp_path, 1)
    told = json.loads((last / "manifest.json").read_text())["files"]["method.safetensors"]["sha256"]
    import hashlib

    assert told == hashlib.sha256(FILES["method.safetensors"]).hexdigest()
