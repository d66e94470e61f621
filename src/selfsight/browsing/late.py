"""What takes long is computed once, whoever asks, and kept on disk for the next time."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future
from math import prod
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NamedTuple

import numpy as np

from selfsight import checkpoints

__all__ = ["Form", "Late", "apart", "kept"]


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


class Form(NamedTuple):
    """What an array that was kept has to be; NaN is within any bounds."""

    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float

    def read(self, file: Path) -> np.ndarray:
        """The array in a file, which may be a stranger's: OSError or ValueError when it is none of this form."""
        head = io.BytesIO()
        facts = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(head, facts)
        content = head.getvalue()
        size = len(content) + np.dtype(self.dtype).itemsize * prod(self.shape)
        if not file.is_file() or file.stat().st_size != size:
            raise ValueError("another size")
        found = file.read_bytes()
        if not found.startswith(content):  # so no header is believed
            raise ValueError("another header")
        array = np.frombuffer(found, self.dtype, offset=len(content)).reshape(self.shape)
        if (array < self.low).any() or (array > self.high).any():
            raise ValueError("other values")
        return array


def kept(folder: Path, name: str, key: str, form: Form, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from FOLDER/NAME-KEY.npy, or made and written there; where that cannot be written it is only made.

    Files of the same name and another key are of other vectors, or in another order, and go.
    """
    file = folder / f"{name}-{key}.npy"
    try:
        return form.read(file)
    except (OSError, ValueError):
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
