"""Files for programs where people want them: looked at before the work begins, whole or not there after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EISDIR, ENOTDIR
from pathlib import Path

from selfsight import checkpoints
from selfsight.errors import DiskError

__all__ = ["must_fit", "room", "write"]

ELSEWHERE = "choose another place"


def must_fit(file: str | Path | None, remedy: str = ELSEWHERE) -> None:
    """DiskError where no such file can be written; asked before work that takes long, so nothing is made yet."""
    if file is None:
        return
    place = Path(file).absolute()
    there = next((folder for folder in place.parents if folder.exists()), place)
    wrong = {EISDIR: place.is_dir(), ENOTDIR: not there.is_dir(), EACCES: not os.access(there, os.W_OK)}
    for number, so in wrong.items():
        if so:
            raise refused(Path(file), os.strerror(number), remedy)


def write(file: str | Path, content: bytes) -> None:
    """The file, in a folder that is made where it is not there. DiskError when it cannot be written."""
    with room(Path(file)):
        checkpoints.replace_file(Path(file), content)


@contextmanager
def room(file: Path) -> Iterator[None]:
    """Make its folder; what cannot be written is a DiskError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise refused(file, error.strerror) from error


def refused(file: Path, reason: str | None, remedy: str = ELSEWHERE) -> DiskError:
    """In one sentence."""
    return DiskError(f"{str(file)!r} cannot be written ({reason}); {remedy}")
