"""A checkpoint is a folder that appears whole or not at all.

`step-00000042/` holds files and `manifest.json` (SHA-256 of each). It is written beside its final name, synced to disk,
renamed, and only then named in `LATEST`; the one before it stays. Nothing here is a pickle or imports torch.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsight.errors import CheckpointError, DiskError

__all__ = [
    "SEAL", "clean", "drop_after", "entries", "intact", "into_place", "is_signed", "latest", "read", "replace_file",
    "reseal", "seal", "sealing", "signed", "steps", "survey", "verify", "write",
]  # fmt: skip

KEPT = 2  # the newest and the one before
SEAL = "digests.json"  # in a folder that `seal` wrote
CHUNK = 1 << 18  # bytes that are looked at together, so that nothing large is in memory twice
LONGEST = 255  # bytes of a file's name, on the usual file systems
LARGEST = 4 << 20  # bytes of JSON: read, a stranger's may take forty times as many
NAME = re.compile(r"step-(\d{8})")
Content = bytes | bytearray


def write(folder: Path, step: int, files: Mapping[str, Content], facts: Mapping[str, Any]) -> Path:
    """Save `files` and `facts` (JSON) as the checkpoint of `step`; DiskError leaves what was there untouched."""
    final = folder / f"step-{step:08d}"
    partial = folder / f"{final.name}.tmp-{os.getpid()}"
    needed = sum(map(len, files.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = _write_all(partial, files, {"step": step, **facts})
        into_place(partial, final)
        if wrong := [name for name, content in written.items() if not _holds(final / name, content)]:
            raise CheckpointError(f"checkpoint {str(final)!r} is damaged: {wrong[0]} does not hold what was written")
        replace_file(folder / "LATEST", f"{final.name}\n".encode())
        _forget_old(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise DiskError(
            f"the checkpoint of step {step} needs {needed / 1e6:.1f} MB in {str(folder)!r} and could not be written "
            f"({error.strerror}); free some space, the earlier checkpoint is untouched"
        ) from error
    return final


def _write_all(partial: Path, files: Mapping[str, Content], facts: Mapping[str, Any]) -> dict[str, Content]:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    digests = {name: {"bytes": len(content), "sha256": _sha(content)} for name, content in files.items()}
    written = {**files, "manifest.json": signed({"facts": dict(facts), "files": digests})}
    for name, content in written.items():
        _write_synced(partial / name, content)
    _sync_folder(partial)
    return written


def into_place(partial: Path, final: Path) -> None:
    """Give a folder whose files are on disk its final name; what had that name before goes."""
    if final.exists():  # the same step again, after a fall-back to an older checkpoint
        aside = final.with_name(f"{final.name}.tmp-{os.getpid()}-old")
        final.rename(aside)
        try:
            partial.rename(final)
        except OSError:
            aside.rename(final)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    else:
        partial.rename(final)
    _sync_folder(final.parent)


def _forget_old(folder: Path) -> None:
    _remove(folder, steps(folder)[:-KEPT])


def _remove(folder: Path, doomed_steps: list[int]) -> None:
    for step in doomed_steps:
        doomed = (folder / f"step-{step:08d}").rename(folder / f"step-{step:08d}.tmp-{os.getpid()}-old")
        shutil.rmtree(doomed, ignore_errors=True)


def verify(checkpoint: Path) -> dict[str, Any]:
    """The facts of a whole checkpoint; CheckpointError names the first thing that is wrong with it."""
    return _open(checkpoint, keep=False)[0]


def read(checkpoint: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Facts and files of a checkpoint, every byte checked against its digest."""
    return _open(checkpoint, keep=True)


def _open(checkpoint: Path, *, keep: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        manifest = entries(checkpoint / "manifest.json")
        if not is_signed(manifest, (checkpoint / "manifest.json").read_bytes()):
            raise CheckpointError(
                f"checkpoint {str(checkpoint)!r} is damaged: its manifest does not match its own digest"
            )
        files = {}
        for name, promise in manifest["files"].items():
            if len(os.fsencode(name)) > LONGEST:
                raise ValueError("no file has such a name")
            with open(checkpoint / Path(name).name, "rb") as file:
                fits = os.stat(file.fileno()).st_size == promise["bytes"]  # before memory is taken for it
                files[name] = file.read() if keep and fits else b""
                digest = _sha(files[name]) if keep else hashlib.file_digest(file, "sha256").hexdigest() if fits else ""
            if not fits or digest != promise["sha256"]:
                raise CheckpointError(f"checkpoint {str(checkpoint)!r} is damaged: {name} does not match its digest")
        facts: dict[str, Any] = manifest["facts"]
        named = f"step-{facts.get('step', -1):08d}"
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} is incomplete: {error.filename} is missing") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} is damaged: its manifest cannot be read") from error
    if named != checkpoint.name.split(".")[0]:
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} is damaged: it holds another step than its name says")
    return facts, files


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints that reached their final name, ascending; whole or not is for `verify` to say."""
    found = (NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in found if match)


def survey(folder: Path) -> tuple[Path | None, dict[int, str]]:
    """The newest whole checkpoint, None when there is none yet, and what is wrong with each newer one.

    CheckpointError when there are some and none is whole.
    """
    damaged: dict[int, str] = {}
    for step in reversed(steps(folder)):
        path = folder / f"step-{step:08d}"
        try:
            verify(path)
        except CheckpointError as error:
            damaged[step] = str(error)
            continue
        return path, damaged
    if damaged:
        first = next(iter(damaged.values()))
        raise CheckpointError(f"{first}, and no older one is whole; train anew with another --out")
    return None, {}


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None when there is none yet. A damaged one is passed over with a warning."""
    newest, damaged = survey(folder)
    for reason in damaged.values():
        warnings.warn(f"{reason}; going on from {newest.name if newest else ''}", stacklevel=2)
    return newest


def drop_after(folder: Path, step: int) -> None:
    """Remove what lies after `step`, from where a run goes on: damaged ones, that would crowd out whole ones.

    What a kill cut off is made up for: LATEST names `step`, and of the ones before it one stays.
    """
    _remove(folder, [later for later in steps(folder) if later > step])
    _forget_old(folder)
    name = f"step-{step:08d}\n".encode()
    if not (folder / "LATEST").is_file() or (folder / "LATEST").read_bytes() != name:
        replace_file(folder / "LATEST", name)


def clean(folder: Path, name: str = "*") -> None:
    """Remove what processes that are gone left half-written of files of this name, as a pattern."""
    for path in folder.glob(f"{name}.tmp-*") if folder.is_dir() else ():
        owner = re.search(r"\.tmp-(\d+)", path.name)
        if owner and not _alive(int(owner[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file so that readers see the old one or the new one, also after a power cut."""
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    try:
        _write_synced(partial, content)
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def seal(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write a folder's files and their digests. The last of them, alone, says that the folder is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    *first, last = files
    (folder / last).unlink(missing_ok=True)  # of an earlier folder, perhaps
    for name in first:
        replace_file(folder / name, files[name])
    replace_file(folder / SEAL, sealing(files))
    replace_file(folder / last, files[last])
    return folder


def reseal(folder: Path) -> None:
    """Write the digests of all files of a folder, before it gets its name."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SEAL)
    replace_file(folder / SEAL, sealing({file.name: file.read_bytes() for file in files}))


def sealing(files: Mapping[str, bytes]) -> bytes:
    """What a folder's SEAL says of its files."""
    return json.dumps({name: _sha(content) for name, content in files.items()}, indent=1).encode()


def intact(folder: Path) -> None:
    """ValueError names a file that is not what `seal` wrote; a folder without digests, of another tool, passes."""
    if not (folder / SEAL).exists():
        return
    for name, digest in entries(folder / SEAL).items():
        with open(folder / Path(name).name, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            raise ValueError(f"{name} does not match its digest: it was damaged or changed")


def entries(file: Path) -> dict[str, Any]:
    """What a JSON file of ours holds, by name; ValueError when it is none of ours."""
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file.name} is too large")
    try:
        found = json.loads(file.read_bytes())
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no entries")
    return found


def _write_synced(path: Path, content: Content) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _holds(path: Path, content: Content) -> bool:
    """Whether a file that is read anew has this content."""
    expected, chunk, at = memoryview(content), bytearray(CHUNK), 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(chunk):
            if chunk[:count] != expected[at : at + count]:
                return False
            at += count
    return at == len(expected)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync a folder
            raise
    finally:
        os.close(handle)


def _sha(content: Content) -> str:
    return hashlib.sha256(content).hexdigest()


def signed(manifest: Mapping[str, Any]) -> bytes:
    """JSON with the SHA-256 of all that it says beside."""
    told = {name: value for name, value in manifest.items() if name != "sha256"}
    own = _sha(json.dumps(told, sort_keys=True).encode())
    return json.dumps({**told, "sha256": own}, sort_keys=True, indent=1).encode()


def is_signed(told: Mapping[str, Any], content: bytes) -> bool:
    """Whether this is what `signed` made of it, to the last bit."""
    return signed(told) == content


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
