"""A folder on this machine for what can be made or fetched again: it only saves time, and nothing depends on it.

Its files may be read and written by several processes at once. All of them together take at most half of what the disk
has free; what nobody opened for an hour makes room. Without room, or a folder, nothing is kept and work goes on.
What else lies in the folder is neither counted nor touched.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

__all__ = ["folder", "put", "room"]

OURS = re.compile(r"(answer|canvases|faiss|known|shard)-[0-9a-f]{32}(\..+)?")  # names; a digest says what it is of
SHARE = 0.5  # of the space that is free or already taken by the cache
REST = 3600.0  # seconds after which a file may make room
BLOCK = 512  # bytes that a block of st_blocks stands for, everywhere
GRANT = 1 << 26  # bytes for which room is looked for at once
PAUSE = 60.0  # seconds until it is looked for again, where there was none


def folder() -> Path:
    """$SELFSIGHT_CACHE, or selfsight/ where caches of this user are."""
    usual = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("SELFSIGHT_CACHE") or f"{usual}/selfsight")


def room(needed: int) -> int:
    """How many of `needed` bytes may be written; files that rest make way for them. Raises OSError."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    files = sorted(_files(place))
    used = sum(size for _, size, _ in files)
    most = _most(place, used)
    for moment, size, path in files:
        if used + needed <= most or moment > time.time() - REST:
            break
        with suppress(FileNotFoundError):  # another process was as short of room
            os.unlink(path)
        used -= size
        most = _most(place, used)  # who has it open keeps it until the end, and then nothing was freed
    return max(0, min(needed, most - used))


def _files(place: Path) -> Iterator[tuple[float, int, str]]:
    """When each of our files was written last, its bytes on the disk, and its path."""
    with os.scandir(place) as entries:
        for file in filter(lambda file: OURS.fullmatch(file.name), entries):
            with suppress(FileNotFoundError):  # it made room meanwhile
                found = file.stat()
                yield found.st_mtime, found.st_blocks * BLOCK, file.path


def _most(place: Path, used: int) -> int:
    """Bytes that the cache may take, where it takes `used`."""
    disk = os.statvfs(place)
    return int(SHARE * (disk.f_bavail * disk.f_frsize + used))


def put(name: str, offset: int, data: bytes) -> None:
    """Write a part of a sparse file where there is room. Raises OSError."""
    if not _grant.covers(len(data)):
        return
    try:
        handle = os.open(folder() / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(handle, data, offset)
        finally:
            os.close(handle)
    except OSError:
        _grant.end()
        raise


class _Grant:
    """Room that was found once and is used up bit by bit; where there is none, it is looked for again later."""

    def __init__(self) -> None:
        self._lock, self._left, self._again = Lock(), 0, 0.0

    def covers(self, size: int) -> bool:
        with self._lock:
            if self._left < size and time.monotonic() >= self._again:
                self._left, self._again = room(GRANT), time.monotonic() + PAUSE
            granted = size <= self._left
            self._left -= size if granted else 0
            return granted

    def end(self) -> None:
        with self._lock:
            self._left, self._again = 0, time.monotonic() + PAUSE


_grant = _Grant()
