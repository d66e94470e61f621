"""The metrics of a run for TensorBoard, in RUN/tensorboard: made anew from metrics.jsonl whenever a run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Events"]


class Events:
    """Event files of one run. Needs tensorboard, which `--tensorboard` makes sure of.

    What cannot be written, on a full disk, ends the events and not the run: metrics.jsonl has them all.
    """

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self.writer: SummaryWriter | None = SummaryWriter(str(folder))

    def note(self, line: Mapping[str, Any]) -> None:
        """Every number of a line of metrics.jsonl, at its step."""
        values = {name: value for name, value in line.items() if name != "step" and type(value) in (int, float)}
        for name, value in values.items():
            self._try("add_scalar", name, value, line["step"])

    def flush(self) -> None:
        """All of it is in the file."""
        self._try("flush")

    def close(self) -> None:
        """The end of the file."""
        self._try("close")

    def _try(self, name: str, *values: Any) -> None:
        writer = self.writer  # which a save in another thread may end
        try:
            if writer is not None:
                getattr(writer, name)(*values)
        except OSError:
            self.writer = None
