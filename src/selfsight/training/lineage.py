"""The runs that an encoder has gone through: what any of them was trained on, it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfsight.data.manifest import Manifest
from selfsight.errors import brief
from selfsight.recipe import Recipe
from selfsight.runs import run_of

__all__ = ["lineage", "unknown"]


def lineage(folder: Path) -> list[tuple[Recipe, Manifest]]:
    """A run's recipe and pictures, then those of the run that it took its weights from, and so on.

    It ends at random weights, at weights that are of no run, and at a run that is not in its place any more.
    """
    runs, places = [], set()
    while (place := folder.resolve()) not in places:
        places.add(place)
        runs.append((Recipe.from_yaml(folder / "recipe.yaml"), Manifest.load(folder / "manifest.parquet")))
        weights = runs[-1][0].weights
        if weights is None or not _is_run(folder := run_of(Path(weights))):
            break
    return runs


def unknown(runs: Sequence[tuple[Recipe, Manifest]]) -> list[str]:
    """A note where the first of the runs started from weights whose pictures are not known."""
    weights = runs[-1][0].weights
    if weights is None:
        return []
    what = "this run" if len(runs) == 1 else "a run before this one"
    which = f"the weights that {what} started from ({brief(repr(weights))})"
    return [f"What {which} were trained on is not known here: some of the test pictures may be among it."]


def _is_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("recipe.yaml", "manifest.parquet"))
