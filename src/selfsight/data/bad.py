"""Files that are no pictures: each costs one line, never the run."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BadFile:
    """One file that was refused; `reason` is a code of `selfsight.data.decode.formats`."""

    path: str
    reason: str
    detail: str = ""
    first_bytes: bytes = b""


def first_bytes(path: str, count: int = 16) -> bytes:
    """The beginning of a regular file, for the report; b"" where it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not make us wait
        try:
            return os.read(handle, count) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        finally:
            os.close(handle)
    except (OSError, ValueError):
        return b""


def write_bad_files(path: str | Path, bad: Iterable[BadFile]) -> None:
    """Write `path, reason, detail, first_bytes` (hexadecimal) as CSV; names that are not UTF-8 are escaped."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "reason", "detail", "first_bytes"])
        lines.writerows([_cell(one.path), one.reason, one.detail, one.first_bytes.hex()] for one in bad)


def _cell(name: str) -> str:
    """A name that a spreadsheet would run as a formula gets ./ in front and stays the same file."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
