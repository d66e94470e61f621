"""A picture inside a tar shard: an address that says where its bytes lie and what their digest is.

    FOLDER/shard-000003.tar#1024+48213:0f1e...     offset + length : BLAKE2b-128 of the picture's file

Whoever reads it gets these very bytes or an exception, so a shard that was cut or changed never gives wrong pixels.
Parts of shards elsewhere are kept in a sparse file on this machine at the same offsets: a hole has another digest.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple

from selfsight.data import cache, remote

__all__ = ["Broken", "Place", "ahead", "at", "content_digest", "read"]

ADDRESS = re.compile(r"(.+\.tar)#(\d+)\+(\d+):([0-9a-f]{32})", re.DOTALL)
GAP = 1 << 17  # bytes between two pictures that are fetched along rather than asked for apart
MOST = 1 << 23  # bytes of one request
REQUESTS = 16  # at a time
WAITING = 1 << 28  # bytes of fetched pictures that wait in memory to be read


class Broken(Exception):  # noqa: N818 - `decode.read` turns it into the reason why a picture is refused
    """The bytes are not those that were packed; `reason` is a code of `decode.formats`."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


class Place(NamedTuple):
    """Where a picture lies."""

    shard: str
    offset: int
    length: int
    digest: str

    def __str__(self) -> str:
        return f"{self.shard}#{self.offset}+{self.length}:{self.digest}"

    @property
    def stop(self) -> int:
        """The offset behind its last byte."""
        return self.offset + self.length


def content_digest(data: bytes) -> str:
    """BLAKE2b-128, hexadecimal: what pictures are known by."""
    return blake2b(data, digest_size=16).hexdigest()


def at(path: str) -> Place | None:
    """The place that an address names; None where the path is that of a file."""
    if (found := ADDRESS.fullmatch(path)) is None:
        return None
    return Place(found[1], int(found[2]), int(found[3]), found[4])


def read(place: Place) -> bytes:
    """The picture's file, its digest checked. Raises Broken, OSError, and what `remote.read` raises."""
    if not remote.is_address(place.shard):
        return _checked(place, _local(place.shard, place))
    if (waiting := _waiting.take(place)) is not None:
        return waiting
    if (kept := _kept(place)) is not None:
        return kept
    data = _checked(place, remote.read(place.shard, place.offset, place.stop))
    _keep(place.shard, place.offset, data)
    return data


def ahead(paths: Iterable[str]) -> None:
    """Fetch what will soon be read and is not on this machine: neighbours in one request, many requests at a time.

    What is missing or broken is left for `read` to say. Raises AddressError when nothing answers.
    """
    there = {place for path in paths if remote.is_address(path) and (place := at(path))}
    wanted = sorted(place for place in there if place not in _waiting and not _comes_from_here(place))
    if wanted:
        parts = list(_parts(wanted))
        with ThreadPoolExecutor(min(REQUESTS, len(parts)), thread_name_prefix="shards") as pool:
            list(pool.map(_fetch, parts))


def _comes_from_here(place: Place) -> bool:
    if (data := _kept(place)) is None:
        return False
    _waiting.put(place, data)
    return True


def _parts(wanted: list[Place]) -> Iterator[list[Place]]:
    """Sorted places in runs that are worth one request."""
    part: list[Place] = []
    for place in wanted:
        near = part and place.shard == part[0].shard and place.offset - part[-1].stop <= GAP
        if part and not (near and place.stop - part[0].offset <= MOST):
            yield part
            part = []
        part.append(place)
    yield part


def _fetch(part: list[Place]) -> None:
    first = part[0].offset
    try:
        data = remote.read(part[0].shard, first, part[-1].stop)
    except FileNotFoundError:
        return
    for place in part:
        own = data[place.offset - first : place.stop - first]
        if content_digest(own) == place.digest:
            _waiting.put(place, own)
            _keep(place.shard, place.offset, own)


def _checked(place: Place, data: bytes) -> bytes:
    if len(data) < place.length:
        raise Broken("truncated", f"the shard ends {place.length - len(data)} bytes before this picture does")
    if content_digest(data) != place.digest:
        raise Broken("corrupt", "the shard was changed: these are not the bytes that were packed")
    return data


def _local(file: str, place: Place) -> bytes:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, place.length, place.offset)
    finally:
        os.close(handle)


def _mirror(shard: str) -> str:
    return f"shard-{content_digest(shard.encode())}"


def _kept(place: Place) -> bytes | None:
    """The picture from this machine's copy of the shard; where it was not fetched yet, the digest is another."""
    with suppress(OSError, Broken):
        return _checked(place, _local(str(cache.folder() / _mirror(place.shard)), place))
    return None


def _keep(shard: str, offset: int, data: bytes) -> None:
    """Write a fetched part into this machine's copy of the shard, where there is room."""
    with suppress(OSError):
        cache.put(_mirror(shard), offset, data)


class _Waiting:
    """Fetched pictures that nobody has read yet, the oldest given up when there are too many."""

    def __init__(self) -> None:
        self._lock, self._kept, self._bytes = Lock(), OrderedDict[Place, bytes](), 0

    def __contains__(self, place: Place) -> bool:
        return place in self._kept

    def put(self, place: Place, data: bytes) -> None:
        with self._lock:
            self._bytes += len(data) - len(self._kept.get(place, b""))
            self._kept[place] = data
            while self._bytes > WAITING:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def take(self, place: Place) -> bytes | None:
        with self._lock:
            data = self._kept.pop(place, None)
            self._bytes -= len(data or b"")
            return data


_waiting = _Waiting()
