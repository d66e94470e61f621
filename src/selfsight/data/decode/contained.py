"""Decoding in processes of its own: what a picture does to its decoder, it does to nobody else.

Decoders are written in C, and a damaged or hostile picture may end the process that they run in, or take all memory.
So a child does it, with at most ROOM bytes beyond its own and SECONDS of the processor for a picture. A picture
that ends two children is refused, and all goes on. A child starts when a thread first needs one, and ends
with this process, whatever ends that.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from io import BufferedRWPair
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from selfsight.data.decode import raster
from selfsight.data.decode.formats import Refused
from selfsight.data.decode.raster import Header
from selfsight.errors import MissingError

__all__ = ["header", "indices", "pixels"]

ROOM = 1 << 30  # bytes
SECONDS = 10  # of processor time: what else the machine does must not decide what a picture is
PATIENCE = 120.0  # seconds by the clock, after which a child is given up
GRACE = 1.0  # seconds that a child has to end
TRIES = 2  # children for a picture, since something else may have ended the first
TOO_LARGE = 3  # exit code of a child for which ROOM was not enough
# glibc's malloc keeps the memory of one picture for the next: asking the system for it anew takes as long as decoding.
MALLOC = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(64 << 20))
START = "from selfsight.data.decode.contained import work; work({}, {}, {})"
READY = b"{}\n"  # what it says when it has started
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # which may be sent to all of a group


def pixels(kind: str, data: bytes, least: int | None = None) -> np.ndarray:
    """`raster.pixels` in a child. Raises Refused, also with the reason `decoder_failed`."""
    return _array("pixels", kind, data, *(() if least is None else (least,)))


def indices(kind: str, data: bytes) -> np.ndarray:
    """`raster.indices` in a child. Raises Refused."""
    return _array("indices", kind, data)


def header(kind: str, data: bytes) -> Header:
    """`raster.header` in a child. Raises Refused."""
    return Header(**_answer("header", kind, data)[0]["header"])


def _array(what: str, kind: str, data: bytes, *more: int) -> np.ndarray:
    head, body = _answer(what, kind, data, *more)
    return np.frombuffer(body, head["dtype"]).reshape(head["shape"])


def _answer(what: str, kind: str, data: bytes, *more: int) -> tuple[dict[str, Any], bytearray]:
    ended = 0
    for _ in range(TRIES):
        child = _idle()
        try:
            head, body = child.ask({"what": what, "kind": kind, "bytes": len(data), "more": more}, data)
        except (OSError, ValueError):  # it is gone, or does not answer
            ended = child.end()
            continue
        _free.append(child)
        if "reason" in head:
            raise Refused(head["reason"], head["detail"])
        return head, body
    if ended == TOO_LARGE:
        raise Refused("too_many_bytes", f"decoding it takes more than {ROOM >> 20} MiB")
    raise Refused("decoder_failed", f"it ended its decoder {TRIES} times ({_cause(ended)})")


def _cause(ended: int) -> str:
    return f"signal {-ended}" if ended < 0 else f"exit code {ended}"


def _unable(cause: str) -> MissingError:
    return MissingError(
        f"the process that decodes pictures does not start ({cause}); is memory short, or are there too many processes?"
    )


class _Child:
    """One process, which has one picture at a time."""

    def __init__(self) -> None:
        own, there = socket.socketpair()
        code = START.format(there.fileno(), ROOM, SECONDS)
        places = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until it ignores them
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                pass_fds=[there.fileno()],
                env={**os.environ, **MALLOC, "PYTHONPATH": os.pathsep.join(filter(None, places))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            own.close()
            raise _unable(error.strerror or str(error)) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            there.close()
        own.settimeout(PATIENCE)
        self._line = own.makefile("rwb")
        own.close()  # the file keeps it open
        if self._line.readline() != READY:
            raise _unable(_cause(self.end()))

    def ask(self, head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytearray]:
        """What it says. OSError or ValueError when it says nothing."""
        _say(self._line, head, data)
        told = json.loads(self._line.readline())
        body = bytearray(told["bytes"])
        if self._line.readinto(body) != len(body):
            raise ConnectionError
        return told, body

    def end(self) -> int:
        """Its exit code."""
        self.leave()
        try:
            return self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def leave(self) -> None:
        """Hang up: it ends where nobody else has the line."""
        with suppress(OSError):
            self._line.close()


def _idle() -> _Child:
    try:
        return _free.pop()
    except IndexError:
        return _Child()


def _say(line: BufferedRWPair[Any, Any], head: dict[str, Any], body: bytes | memoryview) -> None:
    line.write(json.dumps(head).encode() + b"\n")
    line.write(body)
    line.flush()


def work(handle: int, room: int, seconds: int) -> None:
    """The child: bytes in, pixels out, until the other end hangs up."""
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)  # the parent decides
    cv2.setNumThreads(0)
    bound(room)
    with socket.socket(fileno=handle) as own, own.makefile("rwb") as line:
        line.write(READY)
        line.flush()
        while said := line.readline():
            used = int(sum(os.times()[:2]))
            resource.setrlimit(resource.RLIMIT_CPU, (used + 1 + seconds, resource.RLIM_INFINITY))
            try:
                head = json.loads(said)
                _say(line, *_told(head["what"], head["kind"], line.read(head["bytes"]), *head["more"]))
            except MemoryError:
                os._exit(TOO_LARGE)


def _told(what: str, kind: str, data: bytes, *more: int) -> tuple[dict[str, Any], bytes | memoryview]:
    try:
        found = {"pixels": raster.pixels, "indices": raster.indices, "header": raster.header}[what](kind, data, *more)
    except Refused as refused:
        return {"reason": refused.reason, "detail": refused.detail[:1000], "bytes": 0}, b""
    if isinstance(found, Header):
        return {"header": asdict(found), "bytes": 0}, b""
    found = np.ascontiguousarray(found)
    head = {"dtype": found.dtype.str, "shape": found.shape, "bytes": found.nbytes}
    return head, found.reshape(-1).view(np.uint8).data


def bound(room: int) -> None:
    """No core file, and `room` bytes more than this process has, where the system can tell."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = Path("/proc/self/statm")
    if pages.exists():
        most = int(pages.read_text().split()[0]) * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _end() -> None:
    while _free:
        _free.pop().end()


def _forked() -> None:
    """A copy of this process has no children."""
    while _free:
        _free.pop().leave()


_free = deque[_Child]()  # that wait for a picture
atexit.register(_end)
os.register_at_fork(after_in_child=_forked)
