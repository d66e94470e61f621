"""What a run writes: `metrics.jsonl` (the same for the same recipe and pictures), `timing.jsonl` (the clock)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from selfsight import checkpoints

__all__ = ["Journal"]


class Journal:
    """Two append-only files, one JSON object a line. Going on at a step drops what lies after it."""

    def __init__(self, folder: Path | None, step: int) -> None:
        paths = [folder / "metrics.jsonl", folder / "timing.jsonl"] if folder else []
        for path in paths:
            checkpoints.replace_file(path, "".join(f"{line}\n" for line in _until(path, step)).encode())
        self.metrics, self.timing = (open(path, "a") for path in paths or [Path(os.devnull)] * 2)  # noqa: SIM115

    def metric(self, step: int, **values: Any) -> None:
        """What a step came to: numbers that a second run gives again."""
        self.metrics.write(json.dumps({"step": step, **values}) + "\n")

    def time(self, step: int, **values: float) -> None:
        """How fast it went."""
        self.timing.write(json.dumps({"step": step, **values}) + "\n")

    def sync(self) -> None:
        """Everything so far is on disk: called before a checkpoint that counts on it."""
        for file in (self.metrics, self.timing):
            file.flush()
            if file.name != os.devnull:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close both files."""
        self.metrics.close()
        self.timing.close()


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
