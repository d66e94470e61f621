"""Files that are no pictures: each costs one line, never the run."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selfsight import checkpoints

HEADS = ("path", "reason", "detail", "first_bytes")


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
    """Write `path, reason, detail, first_bytes` (hexadecimal) as CSV, whole or not at all; names that are not UTF-8 are
    escaped. Raises OSError when there is no room."""
    _write(Path(path), [_line(one) for one in bad])


def add_bad_files(path: str | Path, bad: Iterable[BadFile]) -> None:
    """The same, and files that were listed there before stay listed: what an earlier process of a run found counts."""
    there = _lines(Path(path))
    lines = {line[0]: line for line in (*there, *map(_line, bad))}
    if list(lines.values()) != there or not there:
        _write(Path(path), list(lines.values()))


def _write(path: Path, lines: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADS, *lines])
    checkpoints.replace_file(path, text.getvalue().encode("utf-8", "backslashreplace"))


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8", errors="backslashreplace") as file:
        return [line for line in csv.reader(file) if len(line) == len(HEADS)][1:]


def _line(one: BadFile) -> list[str]:
    cells = [safe_name(one.path), one.reason, one.detail, one.first_bytes.hex()]
    return [cell.encode("utf-8", "backslashreplace").decode() for cell in cells]


def safe_name(name: str) -> str:
    """A name that a spreadsheet would run as a formula gets ./ in front and stays the same file."""
    return f"./{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
