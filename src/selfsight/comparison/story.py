"""The comparison from its beginning to `compare.json`. The same call goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from selfsight import checkpoints, methods, report
from selfsight.comparison import asked as asking
from selfsight.comparison import journals, scratch
from selfsight.comparison.asked import Asked
from selfsight.comparison.budget import Share, runs, shares
from selfsight.comparison.scene import Outcome, Scene
from selfsight.comparison.table import Row, Table
from selfsight.comparison.verdict import listed
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import pictures_of
from selfsight.errors import Interrupted, RecipeError, SelfsightError, TrainingError
from selfsight.evaluation.task import Task
from selfsight.nn import families
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.report import compared
from selfsight.training import build, session
from selfsight.training.labels import labels_seen
from selfsight.training.listing import check_share
from selfsight.training.progress import clock
from selfsight.training.request import Request
from selfsight.training.view_search import worth_it

SEARCHED = "Here each method has its own views; `train` for as long would first search for those of {}, if time allows."


def compare(asked: Asked, out: Path | None, *, workers: int, quiet: bool) -> dict[str, Any]:
    """Plan, train, measure and judge; returns the content of `compare.json` and where it is. Errors of use come first;
    a method that fails costs its own line."""
    asking.check(asked)
    folder = asking.home(asked, out)
    manifest = scan(source.find(asked.data, **asked.columns.spelled(), kind=asked.kind), seed=0)
    check_share(manifest)
    with session.locked(folder):
        shared = asking.claim(folder, asked, manifest)
        return Comparison(asked, folder, manifest, shared, workers, quiet).made()


@dataclass
class Comparison:
    """One comparison in its folder. `failed` has a sentence for each method, or seed of it, without a result."""

    asked: Asked
    folder: Path
    manifest: Manifest
    shared: str
    workers: int
    quiet: bool
    failed: dict[str, str] = field(default_factory=dict)

    def made(self) -> dict[str, Any]:
        """Everything, in order."""
        parts = self.planned()
        recipe = min((part.recipe for part in parts.values()), key=lambda recipe: recipe.encoder != self.shared)
        pictures = pictures_of(recipe, self.manifest)
        scene = Scene(self.manifest, pictures, recipe, self.folder / "measured")
        given = None if self.asked.pretrained is None else from_elsewhere(self.asked.pretrained, recipe)
        taught = self.taught(scene)
        self.tell_time(parts, taught)
        rows, untrained = self.methods(parts, scene)
        if not rows:
            raise TrainingError(f"no method has a result; the first: {next(iter(self.failed.values()))}")
        rows += list(self.baselines(scene, parts, untrained, given))
        drawn = self.supervised(taught, rows) if taught else {}
        found = self.told(Table(scene, rows, untrained, drawn))
        with session.room_in(self.folder):
            checkpoints.replace_file(self.folder / "compare.json", json.dumps(found, indent=1).encode())
            compared.write(self.folder)
        return found

    def planned(self) -> dict[str, Share]:
        """Each method's part of the budget; RecipeError when none can have any."""
        parts: dict[str, Share] = {}
        for name, share in shares(self.asked, self.shared, self.manifest, self.folder, self.workers):
            if isinstance(share, str):
                self.failed[name] = share
                self.say(f"{name} cannot be trained on these pictures: {share}")
            else:
                parts[name] = share
        if not parts:
            raise RecipeError(
                f"no method can be trained on these pictures; the first: {next(iter(self.failed.values()))}"
            )
        return parts

    def taught(self, scene: Scene) -> scratch.Scratch | None:
        """Training from scratch with labels, where there are some to train and to test on."""
        if not isinstance(scene.task, Task) or self.asked.kind != "pictures":
            return None
        try:
            return scratch.prepared(scene, scene.task, scene.recipe, self.asked.length)
        except SelfsightError as error:
            self.without(scratch.NAME, error)
            return None

    def tell_time(self, parts: Mapping[str, Share], taught: scratch.Scratch | None) -> None:
        """What is still to be done, and about how long it takes."""
        left = {name: sum(not finished(run) for run in runs(self.folder, name, self.asked.seeds)) for name in parts}
        seconds = sum(parts[name].seconds * count for name, count in left.items())
        count = sum(left.values())
        labels = 0.0
        if taught is not None:
            jobs = [job for job in taught.jobs(self.asked.seeds) if taught.scene.kept(job[0]) is None]
            labels = taught.seconds(jobs)
        if count or labels:
            self.say(
                f"{count} runs of {self.asked.length} each: about {clock(seconds)}; training from scratch with labels, "
                f"to compare: about {clock(labels)}; measuring comes on top. Stop it at any time: the same command "
                "goes on."
            )

    def methods(self, parts: Mapping[str, Share], scene: Scene) -> tuple[list[Row], dict[str, list[Outcome]]]:
        """Train and measure every run, seed by seed, so that early numbers are of all methods."""
        outcomes: dict[str, list[Outcome]] = {name: [] for name in parts}
        before: dict[str, list[Outcome]] = {name: [] for name in parts}
        for seed in range(self.asked.seeds):
            for name in parts:
                run = runs(self.folder, name, self.asked.seeds)[seed]
                try:
                    self.train(run)
                    own, start = measured(scene, run, shown=seed == 0)
                except Interrupted as error:
                    raise Interrupted("stopped and saved; the same command goes on from here", error.signal) from error
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this method's and no other's
                    self.without(f"{name}, seed {seed}", error)
                    continue
                outcomes[name].append(own)
                before[name].append(start)
                self.tell_run(name, seed, own, run)
        rows = [Row(name, "method", found, self.facts(name, parts[name])) for name, found in outcomes.items() if found]
        return rows, before

    def train(self, run: Path) -> None:
        """Train a run to its end as `selfsight train` does; one that is there already costs nothing."""
        if not finished(run):
            session.train(Request(data=self.asked.data), run, workers=self.workers, quiet=self.quiet)
        if not (run / "report.html").is_file():
            with session.room_in(run):
                report.write(run)

    def facts(self, name: str, share: Share) -> dict[str, Any]:
        """What is known of a method's training: equal for all its seeds but for the true seconds."""
        recipe = share.recipe
        seconds = [journals.seconds(run) for run in runs(self.folder, name, self.asked.seeds) if finished(run)]
        told = {"encoder": recipe.encoder, "steps": recipe.steps, "batch": recipe.batch}
        told |= {"pictures_seen": share.pictures_seen, "seconds": sum(seconds) / max(1, len(seconds))}
        if recipe.encoder != self.shared:
            told["note"] = f"keeps an encoder of its own, {recipe.encoder}: it cannot use {self.shared}"
        usual = methods.get(name).usual(recipe.size, recipe.device)
        if usual.source == "measured" and usual.encoder != recipe.encoder:
            told["note"] = f"takes a recipe that was measured with {usual.encoder}, not with {recipe.encoder}"
        return told

    def baselines(
        self,
        scene: Scene,
        parts: Mapping[str, Share],
        untrained: Mapping[str, list[Outcome]],
        given: Encoder | None,
    ) -> Iterator[Row]:
        """What stands beside the methods; equal for all runs, so measured once. Untrained ones once for each start."""
        starts: dict[str, list[Outcome]] = {}
        for name, outcomes in untrained.items():
            own = starts.setdefault(parts[name].recipe.encoder, [])
            own += [outcome for outcome in outcomes if outcome not in own]
        for encoder, outcomes in starts.items():
            if outcomes:
                yield Row("untrained", "baseline", outcomes, {"encoder": encoder})
        first = next(name for name, outcomes in untrained.items() if outcomes)
        run = next(run for run in runs(self.folder, first, self.asked.seeds) if finished(run))
        for name, outcome in scene.of_plain(families.load(run / "encoder")).items():
            yield Row(name, "baseline", [outcome])
        if given is not None:
            outcome = scene.of_encoder("pretrained", given, shown=True)
            yield Row("pretrained", "baseline", [outcome], {"encoder": self.asked.pretrained})

    def supervised(self, taught: scratch.Scratch, rows: list[Row]) -> dict[str, list[Outcome]]:
        """Training from scratch with labels: a row of the table with all of them, and draws of fewer."""
        drawn: dict[str, list[Outcome]] = {}
        for name, labels, draw in taught.jobs(self.asked.seeds):
            new = taught.scene.kept(name) is None
            try:
                outcome = taught.result(name, labels, draw)
            except SelfsightError as error:
                self.without(f"{scratch.NAME}, {labels.count} labels", error)
                continue
            drawn.setdefault(labels.name, []).append(outcome)
            if new:
                self.say(f"from scratch with {labels.count} labels: {percent(outcome, 'linear')}, {seconds(outcome)}")
        whole = drawn.get(taught.scene.budgets[-1].name)
        if whole:
            facts = {key: whole[0][key] for key in ("steps", "pictures_seen", "seconds")}
            rows.append(Row(scratch.NAME, scratch.NAME, whole, {"encoder": taught.recipe.encoder, **facts}))
        return drawn

    def told(self, table: Table) -> dict[str, Any]:
        """The content of compare.json."""
        asked = asdict(self.asked) | {"encoder": self.shared, "size": table.scene.recipe.size}
        found: dict[str, Any] = {"asked": asked}
        found |= {"pictures": len(self.manifest), "failed": self.failed, **table.to_json()}
        every = {row.name: runs(self.folder, row.name, self.asked.seeds) for row in table.methods}
        curves = {name: [journals.curve(run) for run in its] for name, its in every.items()}
        found["notes"] += [*self.heard(), *self.of_recipes(table)]
        return found | {"curves": curves, "out": str(self.folder)}

    def heard(self) -> list[str]:
        """What methods and the guard said of the runs; of several seeds the same sentence once."""
        said: dict[tuple[str, str], list[str]] = {}
        for name in self.asked.methods:
            for seed, run in enumerate(runs(self.folder, name, self.asked.seeds)):
                for when, words in journals.warnings(run):
                    said.setdefault((name, words), []).append(f"seed {seed}, {when}")
        return [f"{name}, {'; '.join(when)}: {words}." for (name, words), when in said.items()]

    def of_recipes(self, table: Table) -> list[str]:
        """Which methods have seen labels, and which `train` would first have searched views for."""
        folders = (runs(self.folder, row.name, 1)[0] for row in table.methods)
        recipes = [Recipe.from_yaml(folder / "recipe.yaml") for folder in folders]
        told = labels_seen([(recipe, self.manifest) for recipe in recipes])
        own = [recipe.method for recipe in recipes if worth_it(Request(), recipe, self.manifest)]
        return told + ([SEARCHED.format(listed(own))] if own else [])

    def tell_run(self, name: str, seed: int, own: Outcome, run: Path) -> None:
        """One line for a run."""
        question = "knn" if "knn" in own["right"] else "two_views"
        what = {"knn": "nearest neighbours", "two_views": "found by another view"}[question]
        self.say(f"{name}, seed {seed}: {what} {percent(own, question)}, {journals.seconds(run):.0f} s")

    def without(self, what: str, error: Exception) -> None:
        """Note why something has no result. A fault that is none of ours is named by its kind."""
        told = str(error) if isinstance(error, SelfsightError) else f"{type(error).__name__}: {error}"
        self.failed[what] = told
        self.say(f"{what} has no result: {told}")

    def say(self, sentence: str) -> None:
        """To whoever waits; what the command gives out stays on the other stream."""
        if not self.quiet:
            print(sentence, file=sys.stderr, flush=True)


def finished(run: Path) -> bool:
    """Whether a run is trained to its end."""
    return (run / "encoder" / "config.json").is_file()


def measured(scene: Scene, run: Path, *, shown: bool) -> tuple[Outcome, Outcome]:
    """A run's encoder, and its network before training. Runs of one seed that start alike share the latter."""
    files = (run / "untrained" / name for name in ("config.json", "model.safetensors"))
    start = f"untrained-{sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:16]}"
    own = scene.of_encoder(run.name, families.load(run / "encoder"), shown=shown)
    return own, scene.of_encoder(start, families.load(run / "untrained"), trained=False)


def from_elsewhere(name: str, recipe: Recipe) -> Encoder:
    """The published encoder to stand beside the methods."""
    scale = {key: recipe.pixels[key] for key in ("channels", "low", "high")}
    return build.from_elsewhere(name, recipe.size, scale)


def percent(outcome: Outcome, question: str) -> str:
    """The share of right answers."""
    right = outcome["right"][question]
    return f"{100 * right.count('1') / max(1, len(right)):.1f} %"


def seconds(outcome: Outcome) -> str:
    """That it took."""
    return f"{outcome['seconds']:.0f} s"
