"""The same budget for every method: one plan each, made once, with what it will cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from selfsight import checkpoints
from selfsight.comparison.asked import Asked
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError, SelfsightError
from selfsight.recipe import Recipe
from selfsight.training import session
from selfsight.training.length import chain
from selfsight.training.plan import fitting_size, plan
from selfsight.training.request import Request, parse_length

FILE = "plans.json"


@dataclass(frozen=True)
class Share:
    """A method's part: the recipe of its runs but for the seed, and the seconds that one of them should take."""

    recipe: Recipe
    seconds: float

    @property
    def pictures_seen(self) -> int:
        """Over all stages, each picture counted as often as it is shown."""
        return sum(stage.steps * stage.batch for stage in chain(self.recipe))


def runs(folder: Path, name: str, seeds: int) -> list[Path]:
    """The folders of a method's runs, one for each seed."""
    return [folder / "runs" / f"{name}-{seed}" for seed in range(seeds)]


def shares(
    asked: Asked, shared: str, manifest: Manifest, folder: Path, workers: int
) -> Iterator[tuple[str, Share | str]]:
    """Each method with its part, or with one sentence why it can have none. What was planned before is not again."""
    known = json.loads((folder / FILE).read_text()) if (folder / FILE).is_file() else {}
    for name in asked.methods:
        begun = runs(folder, name, 1)[0] / "recipe.yaml"
        try:
            if name in known and begun.is_file():
                share = Share(Recipe.from_yaml(begun), known[name])
            else:
                share, reasons = _planned(name, asked, shared, manifest, workers)
                keep(begun.parent, share.recipe, reasons, manifest)
                known[name] = share.seconds
                checkpoints.replace_file(folder / FILE, json.dumps(known).encode())
            for seed, run in enumerate(runs(folder, name, asked.seeds)):
                if not (run / "recipe.yaml").is_file():
                    keep(run, seeded(share.recipe, seed), {"seed": "one of the comparison's"}, manifest)
        except SelfsightError as error:
            yield name, str(error)
        else:
            yield name, share


def keep(run: Path, recipe: Recipe, reasons: Mapping[str, str], manifest: Manifest) -> None:
    """Make the folder a run that `train` goes on with."""
    run.mkdir(parents=True, exist_ok=True)
    session.keep(run, recipe, reasons, manifest)


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with another seed, in all its stages."""
    return replace(recipe, seed=seed, before=seeded(recipe.before, seed) if recipe.before else None)


def _planned(name: str, asked: Asked, shared: str, manifest: Manifest, workers: int) -> tuple[Share, dict[str, str]]:
    """The plan with the encoder and the size for all; where the method cannot use that encoder, with its own."""
    size = asked.size or fitting_size(manifest, asked.at)[0]
    request = Request(
        asked.data, name, shared, size=size, length=asked.length, seed=0, threads=asked.threads,
        device=asked.device, columns=asked.columns, workers=workers,
    )  # fmt: skip
    try:
        return _equal(request, manifest)
    except RecipeError:
        if asked.usual(name) == shared:
            raise
        return _equal(replace(request, encoder=None), manifest)


def _equal(request: Request, manifest: Manifest) -> tuple[Share, dict[str, str]]:
    """The plan whose stages have the budget between them: a time is shared out by the plan itself, steps are here."""
    recipe, reasons = plan(request, manifest)
    number, unit = parse_length(str(request.length))
    if recipe.before is not None and unit != "minutes":
        own = recipe.steps**2 / sum(stage.steps for stage in chain(recipe))
        recipe, reasons = plan(replace(request, length=f"{max(1, round(own))}steps"), manifest)
    seconds = 60 * number if unit == "minutes" else 60 * float(reasons["eta"].split()[0])  # "1.5 minutes"
    return Share(recipe, seconds), reasons
