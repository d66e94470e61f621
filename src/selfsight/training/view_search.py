"""Which views suit the pictures? A small network is trained on each of a few, before the run's own training begins.

They are halved again and again (`halving`). The method's own views stay to the end: others take their place only where
labels of the training pictures show a difference whose 95 % interval lies above 0. That is asked of pictures by which
nothing was chosen before, since the best of several on the same ones is flattered. Without labels nothing is tried:
which views are best depends on what is asked of the pictures (docs/views.md), and no score that needs no label knows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from selfsight import checkpoints, distributed
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.embedding.embed import embed
from selfsight.errors import DivergedError, Interrupted, RecipeError, RunError, typed
from selfsight.evaluation import intervals, quality
from selfsight.nn.embedder import Embedder
from selfsight.recipe import Recipe
from selfsight.runs import SEARCH, TRIALS
from selfsight.training import autotune
from selfsight.training.build import engine, method_of, optimizer_of
from selfsight.training.data import TrainingData
from selfsight.training.halving import Found, aside, decided, halved, rounds, work
from selfsight.training.jury import Jury
from selfsight.training.loop import Trainer
from selfsight.training.plan import USUAL, plan
from selfsight.training.progress import Watcher
from selfsight.training.request import Request, parse_length
from selfsight.views import recipes

__all__ = ["Jury", "TooShortError", "begun", "best", "check", "drafted", "worth_it"]

CHANGED = ["keep-colour", "keep-hue", "gentle", "gentle-keep-colour", "turns", "keep-colour-turns"]
CHANGED += ["gentle-keep-colour-turns", "upright", "blurred", "never-grey"]
COLOURED = {"keep-hue", "never-grey"}  # of these nothing is left where there is one channel
ENCODER, SIZE, BATCH = "test_resnet", 32, 64  # timm's smallest: a twentieth of a ResNet-18's work at 64 px
LONG = 5.0  # minutes of a run, from which on views are searched for where nobody says anything of them
SHARE = 0.15  # of the run's time, or of the pictures that it sees: for all of the search
JUDGING = 1 / 3  # of that, at most
LEAST, MOST = 50, 4000  # steps of each in the first round, below which chance would choose; of all, when it is chosen
FEWER = 5  # candidates, the first of them, where there are steps for no more
LABELLED = 100  # training pictures with a label, at least
TIMED = 128  # of them that what judging takes is measured by


def check(recipe: Recipe, manifest: Manifest) -> Jury:
    """Whom the candidates are judged by; RecipeError with the reason where nothing can be chosen."""
    views, own = recipe.settings.get("augmentation"), f"--views {SEARCH}"
    usual = recipes.rows(views, SIZE) if isinstance(views, str) else ()
    if not any(one.jitter_chance and one.area[0] < 1 for one in usual):
        raise RecipeError(
            f"{own} asks whether colours should be changed and how much be cropped, and the views of {recipe.method} "
            "do not do both; leave it out"
        )
    if recipe.world > 1:
        raise RecipeError(f"{own} runs on one process; let it choose in a short run, and name here what it chose")
    jury, remedy = Jury.of(manifest, recipe.seed), "name the views yourself, such as simclr-keep-colour where colour"
    named = jury.nameable
    if named.sum() < LABELLED or len(np.unique(jury.labels[named])) < 2:
        raise RecipeError(
            f"{own} chooses by labels, and it needs {LABELLED} training pictures with one, of two classes or more that "
            f"are each in two groups or more; without them {remedy} tells your pictures apart"
        )
    if len(np.unique(jury.groups[named & aside(jury.groups)])) < intervals.FEWEST:
        raise RecipeError(
            f"{own} compares pictures of different groups, and with the {len(np.unique(jury.groups))} of the labelled "
            f"ones no difference can be shown; {remedy} tells your pictures apart"
        )
    return jury


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


def candidates(name: str, channels: int, size: int) -> list[str]:
    """The method's own views first, then changes of them; what comes to the same as an earlier one is left out: in the
    small network's views, or in the run's of `size` pixels."""
    found = [name]
    for change in CHANGED:
        new = f"{name}-{change}"
        same = any(recipes.rows(one, side) == recipes.rows(new, side) for one in found for side in (SIZE, size))
        # of views that have a blur already, unlike the small network's, the run would be given less
        other = change == "blurred" and any(one.blur for one in recipes.rows(name, size))
        if not same and not other and (channels > 1 or change not in COLOURED):
            found.append(new)
    return found


@dataclass(frozen=True)
class Cost:
    """What the search takes, in seconds or in pictures."""

    step: float  # of the small network
    picture: float = 1.0  # that a candidate is judged by
    trial: float = 0.0  # to begin with a candidate, or to go on with it
    whole: float = 0.0  # once


def drafted(
    folder: Path, recipe: Recipe, reasons: Mapping[str, str], manifest: Manifest, workers: int
) -> tuple[Recipe, dict[str, str]]:
    """Keep the plan before the search, with how many steps and pictures it has: another start goes on with the same."""
    jury, small = check(recipe, manifest), proxy(recipe, manifest)
    number, unit = parse_length(recipe.length)
    budget, cost = SHARE * recipe.steps * recipe.batch, Cost(small.batch)
    if unit == "minutes":
        budget, cost = SHARE * 60 * number, measured(small, manifest, jury, workers)
    whole = len(candidates(recipe.settings["augmentation"], recipe.pixels["channels"], recipe.side))
    for count in (whole, min(whole, FEWER)):
        steps, shown, needed = afforded(count, budget, cost, len(jury.rows))
        if needed <= budget:
            break
    else:
        raise TooShortError(
            f"--views {SEARCH} has {SHARE:.0%} of --for {recipe.length}, too little to choose by; give it "
            f"{needed / budget:.1f} times as long, or name the views"
        )
    if unit == "minutes":
        spent = budget - max(0.0, steps - MOST) * cost.step
        recipe = replace(recipe, steps=max(1, round(recipe.steps * (1 - spent / (60 * number)))))
    recipe = replace(recipe, searched={})
    told = {**reasons, SEARCH: f"{int(min(steps, MOST))} {shown} {count}"}
    home = folder / TRIALS
    home.mkdir(parents=True, exist_ok=True)
    manifest.save(folder / "manifest.parquet")
    checkpoints.replace_file(home / "reasons.json", json.dumps(told).encode())
    checkpoints.replace_file(home / "recipe.yaml", recipe.to_yaml(reasons).encode())
    return recipe, told


def afforded(count: int, budget: float, cost: Cost, pictures: int) -> tuple[float, int, float]:
    """Steps and pictures to judge by that so many candidates can have, and the budget from which on it is enough."""
    trials, least = sum(rounds(count)), LEAST * work(count) * cost.step
    fixed = cost.whole + trials * cost.trial
    shown = int(min(pictures, max(LABELLED, JUDGING * (budget - fixed) / (trials * cost.picture))))
    steps = (budget - fixed - trials * shown * cost.picture) / cost.step
    needed = fixed + max(least / (1 - JUDGING), least + trials * LABELLED * cost.picture)
    return steps, shown, budget if steps * cost.step >= least else needed


def measured(small: Recipe, manifest: Manifest, jury: Jury, workers: int) -> Cost:
    """The seconds of each part, the lesser of two: the first warms up."""
    began = time.perf_counter()
    step = autotune.measure(small, manifest, small.precision, small.channels_last, workers).seconds
    trials, times, some = list[float](), list[float](), jury.rows[:TIMED]
    try:
        for _ in range(2):
            with TemporaryDirectory() as folder:
                started = time.perf_counter()
                encoder, pictures = trained(small, manifest, Path(folder), workers=workers, quiet=True)
                trials.append(time.perf_counter() - started)
                started = time.perf_counter()
                embed(encoder, pictures, some, size=small.size, batch=TIMED, device=encoder.device)
                times.append((time.perf_counter() - started) / len(some))
    except Interrupted as error:
        raise Interrupted("stopped before views were tried; give the same command again", error.signal) from error
    drawn, started = np.random.default_rng(0).normal(size=(len(jury.rows), encoder.width)), time.perf_counter()
    quality.by_others(drawn.astype(np.float32), jury.labels, jury.groups)
    ended = time.perf_counter()
    return Cost(step, min(times) + (ended - started) / len(jury.rows), min(trials), ended - began)


def begun(folder: Path) -> tuple[Recipe, dict[str, str]] | None:
    """The plan of a search that was begun in this folder."""
    home = folder / TRIALS
    if not (home / "recipe.yaml").is_file():
        return None
    if distributed.world() > 1:
        raise RunError(
            f"views are being tried in {str(folder)!r} on one process; let one end that "
            f"({typed('train', '--resume', folder)}), then start as many as you like"
        )
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
    told, small = dict(reasons), proxy(recipe, manifest)
    budget, shown, count = map(int, told.pop(SEARCH).split())
    own, lost, jury = str(recipe.settings["augmentation"]), set[str](), Jury.of(manifest, recipe.seed, shown)

    def tried(name: str, steps: int) -> Found:
        home = folder / TRIALS / name
        one = judged(viewed(small, name, steps), manifest, jury, home, workers=workers, quiet=quiet)
        if not one.finite:
            lost.add(name)
        return one

    try:
        names = candidates(own, recipe.pixels["channels"], recipe.side)
        found, last = halved(names[:count], budget, tried)
    except Interrupted as error:
        raise Interrupted(
            f"stopped while views were tried; go on with: {typed('train', '--resume', folder)}", error.signal
        ) from error
    chosen, why = decided(own, last)
    searched = {name: round(score, 4) if name not in lost else None for name, score in found.items()}
    told |= {"settings.augmentation": why, "searched": f"kNN of training pictures, small network; {why}"}
    return replace(recipe, settings={**recipe.settings, "augmentation": chosen}, searched=searched), told


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


def judged(recipe: Recipe, manifest: Manifest, jury: Jury, folder: Path, *, workers: int, quiet: bool) -> Found:
    """Train to the recipe's steps and judge; kept, and not done twice. A picture that cannot be read is not named."""
    file = folder / f"{recipe.steps}.json"
    if not file.is_file():
        right, finite = np.zeros(len(jury.rows), bool), True
        try:
            encoder, pictures = trained(recipe, manifest, folder, workers=workers, quiet=quiet)
            vectors, rows = embed(encoder, pictures, jury.rows, size=recipe.size, device=encoder.device)
            places = np.searchsorted(jury.rows, rows)
            right[places] = quality.by_others(vectors, jury.labels[places], jury.groups[places])
        except DivergedError:
            finite = False
        told = {"right": right.astype(int).tolist(), "finite": finite}
        checkpoints.replace_file(file, json.dumps(told).encode())
    kept = json.loads(file.read_text("utf-8"))
    return Found(np.array(kept["right"], bool), jury.groups, kept["finite"])
