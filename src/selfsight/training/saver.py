"""Saves while training goes on: between two steps the state is copied in memory, and a thread brings it to the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from os import statvfs
from pathlib import Path
from typing import Any

from selfsight import __version__, checkpoints
from selfsight.checkpoints import KEPT
from selfsight.errors import DiskError, brief

__all__ = ["Saver", "found"]

SHARE = 0.01  # of the time may go into saving, where nobody said how often
SOONEST, LATEST = 10.0, 120.0  # seconds between two saves then
Files = dict[str, bytearray]


class Saver:
    """One save is under way at most, from one copy of the state. One that fails costs itself, and is said.

    `every` is in seconds; with 0 a save is on the disk before training goes on. With None it follows from what a save
    takes: the seconds for which it holds training up, and those of a processor in its thread.
    """

    def __init__(self, every: float | None, say: Callable[[str], None]) -> None:
        self.every, self.say = every, say
        self.pool = ThreadPoolExecutor(1, "saver")
        self.under_way: Future[float] | None = None
        self.room: Files = {}
        self.at, self.held, self.cost = time.monotonic(), 0.0, 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for the next save."""
        since = time.monotonic() - self.at
        if self.every is not None:
            return since >= self.every
        return self.under_way is None and since >= self.usual

    @property
    def usual(self) -> float:
        """Seconds between two saves where nobody said how often."""
        return min(max(SOONEST, self.cost / SHARE), LATEST)

    def foresee(self, folder: Path, size: int, *heard: Callable[[str], None]) -> None:
        """Say it when the disk has no room for checkpoints of so many bytes: those that are kept, and a new one."""
        disk = statvfs(folder)
        free, needed = disk.f_bavail * disk.f_frsize, (KEPT + 1) * size
        for hear in heard if free < needed else ():
            hear(
                f"{str(folder)!r} has room for {free / 1e6:.1f} MB and saving takes {needed / 1e6:.1f} MB ({KEPT} "
                "checkpoints and the next one): free some space, or saves will fail while training goes on"
            )

    def save(
        self, copy: Callable[[Files], Files], write: Callable[[Mapping[str, bytearray]], None], *, must: bool
    ) -> None:
        """Begin once the one before is done: `copy` into what that has left, and `write` from the thread.

        What must be is waited for, and its fault is raised.
        """
        self.look(wait=True)
        self.at = time.monotonic()
        self.room = copy(self.room)
        self.held = time.monotonic() - self.at
        self.under_way = self.pool.submit(processor_seconds, lambda: write(self.room))
        if must:
            self.finish()
        elif self.every == 0:
            self.look(wait=True)

    def finish(self) -> None:
        """Wait for the save that is under way; DiskError when there was no room for it."""
        if self.under_way is not None:
            done, self.under_way = self.under_way, None
            self.cost = self.held + done.result()

    def look(self, *, wait: bool = False) -> None:
        """Say it when the save that was under way has failed."""
        if self.under_way is not None and (wait or self.under_way.done()):
            try:
                self.finish()
            except DiskError as error:
                self.say(f"{error}; the next save tries again")

    def close(self) -> None:
        """However training ends, the last save is on the disk."""
        with self.pool:
            self.look(wait=True)


def found(folder: Path, *heard: Callable[[str], None]) -> tuple[Path, dict[str, Any], dict[str, bytes]] | None:
    """The run's newest whole checkpoint, its facts and files; what is damaged, or of another version, is `heard`."""
    newest, damaged = checkpoints.survey(folder / "checkpoints")
    said = [f"{reason}; going on from {newest.name if newest else 'the start'}" for reason in damaged.values()]
    facts, files = checkpoints.read(newest) if newest else ({}, {})
    if newest and (other := brief(facts.get("version", __version__))) != __version__:
        told = f"{newest.name} was saved by Selfsight {other!r} and this is {__version__!r}"
        said.append(f"{told}: what follows need not be what that one would have made")
    for hear, sentence in product(heard, said):
        hear(sentence)
    return (newest, facts, files) if newest else None


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this thread, in `work`."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
