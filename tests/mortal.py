"""`selfsight` in a forked process that dies, or is refused, at its N-th change of the disk.

A change is a call that makes, opens to write, syncs, renames or removes something beneath a folder, in the order in
which the process makes them. Between two of them the disk stays as it is, so dying at each of them in turn is to die
everywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contract_driver

FORKED = multiprocessing.get_context("forkserver")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PATIENCE = 120.0  # seconds


def changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path that a call is about to change; None for any other event."""
    if event == "open":
        path, _, flags = arguments
        return os.fsdecode(path) if not isinstance(path, int) and flags & WRITES else None
    if event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        return None
    path, folder = os.fsdecode(arguments[0]), arguments[-1]
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path) if folder > 0 else path


def arm(beneath: Path, at: Callable[[str], None]) -> None:
    """From now on call `at` with every path that is about to change there."""
    inside, fsync = os.path.realpath(beneath) + os.sep, os.fsync

    def meet(path: str | None) -> None:
        if path is not None and (os.path.abspath(path) + os.sep).startswith(inside):
            at(path)

    def synced(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        meet(os.readlink(f"/proc/self/fd/{number}"))
        fsync(handle)

    os.fsync = synced
    sys.addaudithook(lambda event, arguments: meet(changed(event, arguments)))


def live(words: list[str], beneath: Path, at: int, error: int, count: Any, said: Path) -> None:
    """In the forked process: the command line, which dies at change `at`, or is refused it by `error`."""
    os.setsid()
    with open(said, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())

    one = threading.RLock()  # of this process: one that is shared would stay locked where it dies

    def meet(path: str) -> None:
        with one:
            count.value = number = count.value + 1
        if number == at and error:
            raise OSError(error, os.strerror(error), path)
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    arm(beneath, meet)
    contract_driver.run(words, None)


def selfsight(words: list[object], beneath: Path, said: Path, *, at: int = 0, error: int = 0) -> tuple[int | None, int]:
    """Run one command; its exit code, and how many changes it made or tried beneath a folder. `said` is appended to."""
    count = FORKED.Value("i", 0, lock=False)
    child = FORKED.Process(target=live, args=([str(word) for word in words], beneath, at, error, count, said))
    child.start()
    return joined(child)[0], count.value


def joined(*children: Any) -> list[int | None]:
    """Exit codes, once all have ended. One that hangs is killed, out of later tests' way, and fails this one."""
    for child in children:
        child.join(PATIENCE)
    hung = [child for child in children if child.exitcode is None]
    for child in hung:
        child.kill()
        child.join()
    assert not hung, f"{len(hung)} of {len(children)} processes had not ended after {PATIENCE:.0f} s"
    return [child.exitcode for child in children]
