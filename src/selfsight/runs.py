"""A run's folder as it lies on disk: recipe, numbers, whether the newest checkpoint is whole. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight import checkpoints
from selfsight.errors import RunError, brief, typed
from selfsight.recipe import Recipe

if TYPE_CHECKING:
    import pyarrow

__all__ = ["SEARCH", "START", "TRIALS", "RunCheck", "RunFolder", "checked", "only_begun", "recipe_in", "run_of"]

SEARCH = "search"  # what --views is given to have them chosen
TRIALS = ".search"  # the folder in the run while they are tried, of a name that nobody gives to results
START = "untrained"  # the encoder as it was before step 1
BEGUN = {".lock", "manifest.parquet", "bad_files.csv", "views.png", START, "recipe.yaml", TRIALS}


@dataclass(frozen=True)
class RunCheck:
    """What `inspect` says of a run: `newest` is the step of its newest whole checkpoint, `damaged` what lies after."""

    folder: str
    method: str
    encoder: str
    steps: int
    newest: int | None
    damaged: Mapping[int, str] = field(default_factory=dict)  # step: what is wrong
    written: bool = False  # the encoder, which comes after the last step

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        done = self.written and self.newest == self.steps
        found = "none yet" if self.newest is None else f"step {self.newest}, whole: every digest matches"
        evaluate, resume = typed("evaluate", self.folder), typed("train", "--resume", self.folder)
        hint = f"Evaluate it: {evaluate}" if done else f"Go on with: {resume}"
        what = {"run": self.folder, "method": self.method, "encoder": self.encoder, "steps": self.steps}
        bad = [f"step {step}: {reason}" for step, reason in self.damaged.items()]
        damaged = {"damaged_checkpoints": bad} if bad else {}
        return {**what, "finished": done, "newest_checkpoint": found, **damaged, "suggestions": [hint]}


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

        file = self.folder / "metrics.jsonl"
        try:
            lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # a line that a kill tore has no end
            rows = [dict(json.loads(line)) for line in lines]
            names = list(dict.fromkeys(name for row in rows for name in row))  # the first has not all: it is a look
            return pyarrow.table({name: [row.get(name) for row in rows] for name in names})
        except (OSError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise RunError(f"{str(file)!r} cannot be read ({brief(error)}); train again to have it anew") from error

    def encoder_folder(self) -> Path:
        """Where the trained encoder lies; RunError while training has not ended."""
        folder = self.folder / "encoder"
        if not is_written(self.folder):
            resume = typed("train", "--resume", self.folder)
            raise RunError(f"{str(self.folder)!r} is not trained to its end; go on with: {resume}")
        return folder

    def check(self) -> RunCheck:
        """Open the newest checkpoint and compare every digest. CheckpointError when none is whole."""
        return checked(self.folder, self.recipe)


def recipe_in(folder: Path) -> Path | None:
    """The recipe by which a run goes on there, the plan's while its views are tried; None where there is no run.

    RunError where a kill came before either.
    """
    for file in (folder / "recipe.yaml", folder / TRIALS / "recipe.yaml"):
        if file.is_file():
            return file
    if (folder / "manifest.parquet").is_file() and only_begun(folder):
        raise RunError(
            f"{str(folder)!r} has no checkpoint yet: what was begun there ended before its plan was written; give the "
            "same command again, with DATA"
        )
    return None


def only_begun(folder: Path) -> bool:
    """Whether there is nothing but what a kill before the recipe leaves; so in an empty folder."""
    return {path.name.split(".tmp-")[0] for path in folder.iterdir()} <= BEGUN


def run_of(weights: Path) -> Path:
    """RUN of RUN/encoder/model.safetensors and of RUN/checkpoints/STEP/method.safetensors."""
    home = weights.parent.parent
    return home.parent if home.name == "checkpoints" else home


def is_written(folder: Path) -> bool:
    """Whether the trained encoder is there."""
    return (folder / "encoder" / "config.json").exists()


def checked(folder: Path, recipe: Recipe) -> RunCheck:
    """See `RunFolder.check`."""
    newest, damaged = checkpoints.survey(folder / "checkpoints")
    step = int(checkpoints.verify(newest)["step"]) if newest else None
    return RunCheck(str(folder), recipe.method, recipe.encoder, recipe.steps, step, damaged, is_written(folder))
