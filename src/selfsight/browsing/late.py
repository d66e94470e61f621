"""What takes long is computed once, whoever asks, and kept on disk for the next time."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np

from selfsight import checkpoints

__all__ = ["Late", "apart", "kept"]


class Late:
    """Results by key, each made once, apart from who asks."""

    def __init__(self) -> None:
        self._asked: dict[str, Future[Any]] = {}
        self._lock = Lock()

    def ask(self, key: str, make: Callable[[], Any]) -> Future[Any]:
        """The result, now or later; what failed is tried again when it is asked for again."""
        with self._lock:
            known = self._asked.get(key)
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            made: Future[Any] = Future()
            self._asked[key] = made
        apart(make, made)
        return made

    def now(self, key: str, make: Callable[[], Any]) -> Any:
        """The result; waits for it."""
        return self.ask(key, make).result()


def apart(make: Callable[[], Any], future: Future[Any] | None = None) -> Future[Any]:
    """What `make` gives, from a thread of its own, which does not keep the process from ending."""
    made: Future[Any] = future or Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever waits
            made.set_exception(error)

    Thread(target=run, daemon=True).start()
    return made


def kept(folder: Path, name: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from FOLDER/NAME-KEY.npy, or made and written there; where that cannot be written it is only made.

    Files of the same name and another key are of vectors that are no more, and go.
    """
    file = folder / f"{name}-{key}.npy"
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        made = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{name}-{'?' * len(key)}.npy"):
            old.unlink()
        written = io.BytesIO()
        np.save(written, made, allow_pickle=False)
        checkpoints.replace_file(file, written.getvalue())
    except OSError:  # a place that cannot be written: the next time it is computed again
        pass
    return made
