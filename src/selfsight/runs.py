"""A run's folder as it lies on disk: recipe, numbers, whether the newest checkpoint is whole. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight import checkpoints
from selfsight.errors import RunError
from selfsight.recipe import Recipe

if TYPE_CHECKING:
    import pyarrow

__all__ = ["RunCheck", "RunFolder"]


@dataclass(frozen=True)
class RunCheck:
    """What `inspect` says of a run; `newest` is the step of its newest whole checkpoint."""

    folder: str
    method: str
    encoder: str
    steps: int
    newest: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        done = self.newest == self.steps
        found = "none yet" if self.newest is None else f"step {self.newest}, whole: every digest matches"
        evaluate = f"Evaluate it: selfsight evaluate {self.folder}"
        hint = evaluate if done else f"Go on with: selfsight train --resume {self.folder}"
        what = {"run": self.folder, "method": self.method, "encoder": self.encoder, "steps": self.steps}
        return {**what, "finished": done, "newest_checkpoint": found, "suggestions": [hint]}


class RunFolder:
    """What `train` wrote. RunError when the folder is not a run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recipe = Recipe.from_yaml(self.folder / "recipe.yaml")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    @property
    def metrics(self) -> pyarrow.Table:
        """One row for each thing written down: step, epoch, progress, loss, lr, quality, rankme ..."""
        import pyarrow

        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return pyarrow.Table.from_pylist([json.loads(line) for line in lines])

    def encoder_folder(self) -> Path:
        """Where the trained encoder lies; RunError while training has not ended."""
        folder = self.folder / "encoder"
        if not (folder / "config.json").exists():
            raise RunError(
                f"{str(self.folder)!r} is not trained to its end; go on with: selfsight train --resume {self.folder}"
            )
        return folder

    def check(self) -> RunCheck:
        """Open the newest checkpoint and compare every digest. CheckpointError when none is whole."""
        newest = checkpoints.latest(self.folder / "checkpoints")
        step = int(checkpoints.verify(newest)["step"]) if newest else None
        return RunCheck(str(self.folder), self.recipe.method, self.recipe.encoder, self.recipe.steps, step)
