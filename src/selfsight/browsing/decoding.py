"""Pictures that came over the network, decoded in a process of their own: what they do to it they do to nobody else.

A child has no more memory than LIMIT beyond its own and PATIENCE seconds for a picture; then, or when it dies, another
takes its place. What comes back is plain bytes, of which nothing is run.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np

from selfsight.data.ranges import PixelFormat

__all__ = ["Decoders", "Undecodable"]

LIMIT = 2 << 30  # bytes of memory
PATIENCE = 10.0  # seconds
READY = 120.0  # seconds until a child has started


class Undecodable(Exception):  # noqa: N818 - it is an answer
    """The bytes are no picture that can be used; the text says why and holds no name."""


class Decoders:
    """A few children, each with one picture at a time. `start` before use, `close` after."""

    def __init__(self, form: PixelFormat, size: int, count: int) -> None:
        self._facts = (form, size)
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")  # one for each child
        self._free: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._all: list[_Child] = []

    def start(self) -> None:
        """Start the children; they are ready a little later."""
        for _ in range(self._count):
            self._free.put(self._child())

    async def view(self, data: bytes) -> np.ndarray:
        """The evaluation view (h, w, C) of the picture in these bytes. Undecodable when there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._view, data)

    def close(self) -> None:
        """End the children."""
        self._threads.shutdown()
        for child in self._all:
            child.end()

    def _child(self) -> _Child:
        child = _Child(*self._facts)
        self._all.append(child)
        return child

    def _view(self, data: bytes) -> np.ndarray:
        child = self._free.get()
        try:
            return child.ask(data)
        finally:
            if not child.alive:
                self._all.remove(child)
                child = self._child()
            self._free.put(child)


class _Child:
    def __init__(self, form: PixelFormat, size: int) -> None:
        spawning = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self._pipe, there = spawning.Pipe()
        self._process = spawning.Process(target=_work, args=(there, form, size), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C goes to all; the parent decides
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        self._patience = READY
        self.alive = True

    def ask(self, data: bytes) -> np.ndarray:
        try:
            self._pipe.send_bytes(data)
            if not self._pipe.poll(self._patience):
                raise Undecodable("it takes too long to decode")
            head, body = self._pipe.recv_bytes(), self._pipe.recv_bytes()
        except (OSError, EOFError) as error:
            self.end()
            raise Undecodable("decoding it failed: it needs too much memory, or is damaged") from error
        except Undecodable:
            self.end()
            raise
        self._patience = PATIENCE
        told = json.loads(head)
        if "reason" in told:
            raise Undecodable(str(told["reason"]))
        return np.frombuffer(body, told["dtype"]).reshape(told["shape"])

    def end(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection, form: PixelFormat, size: int) -> None:
    """The child: bytes in, a head and a body out, until the other end is closed. It loads no torch."""
    from selfsight.data.decode import Refused, unguarded
    from selfsight.data.decode.contained import bound
    from selfsight.data.ranges import conform
    from selfsight.errors import DataError
    from selfsight.views.render import whole

    bound(LIMIT)
    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            array = np.ascontiguousarray(whole(conform(unguarded(data), form), size))
            head, body = {"dtype": array.dtype.str, "shape": array.shape}, array.tobytes()
        except Refused as refused:
            head, body = {"reason": refused.reason}, b""
        except (DataError, MemoryError) as error:
            head, body = {"reason": str(error) or "it needs too much memory"}, b""
        pipe.send_bytes(json.dumps(head).encode())
        pipe.send_bytes(body)
