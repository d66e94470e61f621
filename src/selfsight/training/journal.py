"""What a run writes: `metrics.jsonl` (the same for the same recipe and pictures), `timing.jsonl` (the clock)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfsight import checkpoints
from selfsight.errors import DiskError
from selfsight.training.events import Events

__all__ = ["Journal"]


class Journal:
    """Two files that grow, one JSON object a line. Going on at a step drops what lies after it.

    Lines wait in memory until `sync`: a full disk then costs no line, and nothing is ever half a line for long.
    """

    def __init__(self, folder: Path | None, step: int, events: type[Events] | None = None) -> None:
        """Raises DiskError when `folder` cannot be written; None keeps nothing. `events` get every metric as well."""
        self.folder = folder
        self.waiting: dict[Path, list[str]] = {}
        for path in (folder / "metrics.jsonl", folder / "timing.jsonl") if folder else ():
            try:
                checkpoints.replace_file(path, "".join(f"{line}\n" for line in _until(path, step)).encode())
            except OSError as error:
                raise DiskError(f"{str(path)!r} cannot be written ({error.strerror}); free some space") from error
            self.waiting[path] = []
        self.began = time.monotonic() - max((line["seconds"] for line in self.past("timing.jsonl")), default=0.0)
        self.events = events(folder) if folder and events else None
        if self.events:
            for line in self.past():
                self.events.note(line)

    def past(self, name: str = "metrics.jsonl") -> Iterator[dict[str, Any]]:
        """The lines of a file that are on disk: when a run goes on, what it wrote before."""
        if self.folder is not None:
            yield from map(json.loads, (self.folder / name).read_text().splitlines())

    def metric(self, step: int, **values: Any) -> None:
        """What a step came to: numbers that a second run gives again."""
        self._note("metrics.jsonl", {"step": step, **values})
        if self.events:
            self.events.note({"step": step, **values})

    def say(self, sentence: str) -> None:
        """What people should read before step 1, for the report: `--quiet` prints it nowhere."""
        self.metric(0, sentence=sentence)

    def start(self, step: int, sentence: str) -> None:
        """What people should read of this start, which another need not meet: for the report, beside the clock."""
        self.time(step, sentence=sentence)

    def time(self, step: int, **values: Any) -> None:
        """What the steps so far took, over all starts, and how fast it went. Steps that a kill undid are not in it."""
        self._note("timing.jsonl", {"step": step, "seconds": time.monotonic() - self.began, **values})

    def _note(self, name: str, values: dict[str, Any]) -> None:
        for path, lines in self.waiting.items():
            if path.name == name:
                lines.append(json.dumps(values) + "\n")

    def sync(self) -> None:
        """Everything so far is on disk: called before a checkpoint that counts on it. OSError leaves it waiting.

        Lines may come meanwhile, from another thread: they wait for the next time.
        """
        for path, lines in self.waiting.items():
            _append(path, "".join(now := list(lines)).encode())
            del lines[: len(now)]
        if self.events:
            self.events.flush()

    def close(self) -> None:
        """Write what waits. What a full disk refuses lies after the last checkpoint, so going on writes it again."""
        with suppress(OSError):
            self.sync()
        if self.events:
            self.events.close()


def _append(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    with open(path, "ab", buffering=0) as file:
        end, rest = file.tell(), memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _until(path: Path, step: int) -> list[str]:
    """The whole lines up to `step`: a line torn by a kill, and all behind it, is dropped."""
    kept = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else []:
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return kept
