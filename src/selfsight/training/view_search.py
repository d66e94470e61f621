"""Which views suit the pictures? A small network is trained on each of a few, before the run's own training begins.

Successive halving (Jamieson & Talwalkar 2016, 1502.07943): all train for a while, the better half goes on for as long
again. The method's own views stay to the end: others take their place only where labels of the training pictures show
a difference whose 95 % interval lies above 0. That is asked of pictures by which nothing was chosen before, since the
best of several on the same ones is flattered. Without labels nothing is tried: which views are best depends on what is
asked of the pictures (docs/views.md), and no score that needs no label knows that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from selfsight import checkpoints, distributed
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.data.pictures import Pictures
from selfsight.data.splits import units
from selfsight.embedding.embed import embed
from selfsight.errors import DivergedError, Interrupted, RecipeError, typed
from selfsight.evaluation import holdout, intervals, quality
from selfsight.nn.embedder import Embedder
from selfsight.recipe import Recipe
from selfsight.runs import SEARCH
from selfsight.training import autotune
from selfsight.training.build import engine, method_of, optimizer_of
from selfsight.training.data import TrainingData
from selfsight.training.loop import Trainer
from selfsight.training.plan import USUAL, plan
from selfsight.training.progress import Watcher
from selfsight.training.request import Request, parse_length
from selfsight.views import recipes

__all__ = ["TooShortError", "begun", "best", "check", "drafted", "worth_it"]

CHANGED = ["keep-colour", "keep-hue", "gentle", "gentle-keep-colour", "turns", "keep-colour-turns"]
CHANGED += ["gentle-keep-colour-turns", "upright", "blurred", "never-grey"]
COLOURED = {"keep-hue", "never-grey"}  # of these nothing is left where there is one channel
ENCODER, SIZE, BATCH = "test_resnet", 32, 64  # timm's smallest: a twentieth of a ResNet-18's work at 64 px
LONG = 5.0  # minutes of a run, from which on views are searched for where nobody says anything of them
SHARE = 0.15  # of the run's time, or of the pictures that it sees
LEAST, MOST = 300, 4000  # steps of all together: below, chance would choose; beyond, the choice is made
LABELLED = 100  # training pictures with a label, at least
SHOWN = 3000  # of them that a choice is made by, at most
ALONE = f"--views {SEARCH} runs on one process; let it choose in a short run, and name here what it chose"


def check(recipe: Recipe, manifest: Manifest) -> None:
    """RecipeError with the reason where nothing can be chosen."""
    views, own = recipe.settings.get("augmentation"), f"--views {SEARCH}"
    usual = recipes.rows(views, SIZE) if isinstance(views, str) else ()
    if not any(one.jitter_chance and one.area[0] < 1 for one in usual):
        raise RecipeError(
            f"{own} asks whether colours should be changed and how much be cropped, and the views of {recipe.method} "
            "do not do both; leave it out"
        )
    if recipe.world > 1:
        raise RecipeError(ALONE)
    rows = labelled(manifest, recipe.seed)
    if len(rows) < LABELLED or len(np.unique(manifest.labels[rows])) < 2:
        raise RecipeError(
            f"{own} chooses by labels, and it needs {LABELLED} training pictures with one, of two classes or more; "
            "without them name the views yourself, such as simclr-keep-colour where colour tells your pictures apart"
        )


class TooShortError(RecipeError):
    """The search's share of the run is too little to choose by."""


def worth_it(request: Request, recipe: Recipe, manifest: Manifest) -> bool:
    """Whether views are to be searched for: on request, or in a long run by the clock where they can be and nobody
    named any."""
    if request.views or request.config or "augmentation" in request.settings:
        return request.views == SEARCH
    number, unit = parse_length(recipe.length)
    if unit != "minutes" or number < LONG:
        return False
    with suppress(RecipeError):
        check(recipe, manifest)
        return True
    return False


def labelled(manifest: Manifest, seed: int) -> Int[np.ndarray, "N"]:
    """The training pictures with a label that a choice is made by."""
    rows = manifest.train_rows()
    known = rows[manifest.labels[rows] >= 0]
    return np.sort(keyed(seed, 4, Purpose.MONITOR).permutation(known)[:SHOWN])


@dataclass(frozen=True)
class Found:
    """What a candidate's encoder said of the pictures that all are judged by."""

    right: Bool[np.ndarray, "N"]
    groups: Int[np.ndarray, "N"]
    finite: bool = True  # otherwise it could not be trained, and named nothing rightly

    @property
    def accuracy(self) -> float:
        """Share of the pictures named rightly by others, of the half that candidates are ranked by."""
        return float(self.right[~self.aside].mean())

    @property
    def aside(self) -> Bool[np.ndarray, "N"]:
        """The other half, whole groups: by these it is decided in the end."""
        return holdout.by_group(self.groups, 0.5)


def candidates(name: str, channels: int) -> list[str]:
    """The method's own views first, then changes of them; what comes to the same as an earlier one is left out."""
    found = {recipes.rows(name, SIZE): name}
    for change in CHANGED:
        if channels > 1 or change not in COLOURED:
            found.setdefault(recipes.rows(f"{name}-{change}", SIZE), f"{name}-{change}")
    return list(found.values())


def drafted(
    folder: Path, recipe: Recipe, reasons: Mapping[str, str], manifest: Manifest, workers: int
) -> tuple[Recipe, dict[str, str]]:
    """Keep the plan before the search, with how many steps it has: another start goes on with the same."""
    check(recipe, manifest)
    small = proxy(recipe, manifest)
    number, unit = parse_length(recipe.length)
    steps = SHARE * recipe.steps * recipe.batch / BATCH
    if unit == "minutes":
        speed = autotune.measure(small, manifest, small.precision, small.channels_last, workers)
        steps = SHARE * 60 * number / speed.seconds
        spent = min(steps, MOST) * speed.seconds
        recipe = replace(recipe, steps=max(1, round(recipe.steps * (1 - spent / (60 * number)))))
    if steps < LEAST:
        raise TooShortError(
            f"--views {SEARCH} has {SHARE:.0%} of --for {recipe.length}, too little to choose by; give it "
            f"{LEAST / steps:.1f} times as long, or name the views"
        )
    recipe = replace(recipe, searched={})
    told = {**reasons, SEARCH: str(int(min(steps, MOST)))}
    home = folder / SEARCH
    home.mkdir(parents=True, exist_ok=True)
    manifest.save(folder / "manifest.parquet")
    checkpoints.replace_file(home / "reasons.json", json.dumps(told).encode())
    checkpoints.replace_file(home / "recipe.yaml", recipe.to_yaml(reasons).encode())
    return recipe, told


def begun(folder: Path) -> tuple[Recipe, dict[str, str]] | None:
    """The plan of a search that was begun in this folder."""
    home = folder / SEARCH
    if not (home / "recipe.yaml").is_file():
        return None
    if distributed.world() > 1:
        raise RecipeError(ALONE)
    return Recipe.from_yaml(home / "recipe.yaml"), json.loads((home / "reasons.json").read_text("utf-8"))


def proxy(recipe: Recipe, manifest: Manifest) -> Recipe:
    """The recipe of the small network, for the same pictures, seed and machine."""
    request = Request(
        recipe.data, USUAL, ENCODER, views=recipe.settings["augmentation"], size=SIZE, length="1steps",
        batch=min(BATCH, recipe.pictures), seed=recipe.seed, threads=recipe.threads, precision="fp32",
        device=recipe.device, use_all=recipe.use_all, columns=recipe.columns,
        settings={"monitor_points": "1", "monitor_pictures": "64"},
    )  # fmt: skip
    return plan(request, manifest)[0]


def viewed(small: Recipe, name: str, steps: int) -> Recipe:
    """The small network's recipe with these views and this length."""
    return replace(small, settings={**small.settings, "augmentation": name}, steps=steps)


def best(
    folder: Path, recipe: Recipe, reasons: Mapping[str, str], manifest: Manifest, *, workers: int, quiet: bool
) -> tuple[Recipe, dict[str, str]]:
    """The recipe with the views that were chosen, and why. It goes on where an earlier start was stopped."""
    told = dict(reasons)
    small, budget = proxy(recipe, manifest), int(told.pop(SEARCH))
    own, lost = str(recipe.settings["augmentation"]), set[str]()

    def tried(name: str, steps: int) -> Found:
        one = judged(viewed(small, name, steps), manifest, folder / SEARCH / name, workers=workers, quiet=quiet)
        if not one.finite:
            lost.add(name)
        return one

    try:
        found, last = halved(candidates(own, recipe.pixels["channels"]), budget, tried)
    except Interrupted as error:
        raise Interrupted(
            f"stopped while views were tried; go on with: {typed('train', '--resume', folder)}", error.signal
        ) from error
    chosen, why = decided(own, last)
    searched = {name: round(score, 4) if name not in lost else None for name, score in found.items()}
    told |= {"settings.augmentation": why, "searched": f"kNN of training pictures, small network; {why}"}
    return replace(recipe, settings={**recipe.settings, "augmentation": chosen}, searched=searched), told


def halved(
    names: list[str], budget: int, tried: Callable[[str, int], Found]
) -> tuple[dict[str, float], dict[str, Found]]:
    """The last score of every candidate, and what the last of them found. The first stays to the end.

    Each round trains those that are left to twice the steps, and half of them go on; all rounds have `budget` steps.
    """
    own, rounds = names[0], len(names).bit_length() - 1
    left, places = names, []
    for _ in range(rounds):
        places.append(len(left))
        left = left[: max(2, (len(left) + 1) // 2)]
    unit = max(1, budget // sum(count * 2 ** max(0, r - 1) for r, count in enumerate(places)))
    left, scores, found = names, dict[str, float](), dict[str, Found]()
    for r in range(rounds):
        found = {name: tried(name, unit * 2**r) for name in left}
        scores |= {name: one.accuracy for name, one in found.items()}
        ranked = sorted((name for name in left if name != own), key=lambda name: -scores[name])
        left = [own, *ranked[: max(2, (len(left) + 1) // 2) - 1]]
    return scores, found


def decided(own: str, found: Mapping[str, Found]) -> tuple[str, str]:
    """The views to train with, and one sentence why."""
    name = max((one for one in found if one != own), key=lambda one: found[one].accuracy)
    aside = found[own].aside
    other, usual = found[name].right[aside], found[own].right[aside]
    low, high = intervals.of_difference(other, usual, found[own].groups[aside])
    told = f"kNN {other.mean():.3f} against {usual.mean():.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if low > 0:
        return name, f"tried, and better than {own}: {told}"
    return own, f"tried, and none is shown to be better; {name}: {told}"


def trained(
    recipe: Recipe, manifest: Manifest, folder: Path, *, workers: int, quiet: bool
) -> tuple[Embedder, Pictures]:
    """The small network after the recipe's steps, and the pictures it reads; it goes on from what is in the folder.

    A recipe of more steps than last time goes on as well: the rate then starts again from where its cosine stands.
    """
    folder.mkdir(parents=True, exist_ok=True)
    method = method_of(recipe)
    data = TrainingData(recipe, manifest, method, folder, workers)
    watcher = Watcher(recipe, quiet=quiet, title=f"views {folder.name}: ")
    trainer = Trainer(recipe, folder, engine(recipe), method, optimizer_of(recipe, method), data, watcher, 60.0)
    return trainer.fit().product, data.pictures


def judged(recipe: Recipe, manifest: Manifest, folder: Path, *, workers: int, quiet: bool) -> Found:
    """Train to the recipe's steps and judge by training pictures that have a label; kept, and not done twice."""
    file = folder / f"{recipe.steps}.json"
    if not file.is_file():
        rows, finite = labelled(manifest, recipe.seed), True
        right, groups = np.zeros(len(rows), bool), units(manifest.groups, manifest.digests)
        try:
            encoder, pictures = trained(recipe, manifest, folder, workers=workers, quiet=quiet)
            vectors, rows = embed(encoder, pictures, rows, size=recipe.size)
            right = quality.by_others(vectors, manifest.labels[rows], groups[rows])
        except DivergedError:
            finite = False
        told = {"right": right.astype(int).tolist(), "groups": groups[rows].tolist(), "finite": finite}
        checkpoints.replace_file(file, json.dumps(told).encode())
    kept = json.loads(file.read_text("utf-8"))
    return Found(np.array(kept["right"], bool), np.array(kept["groups"]), kept["finite"])
