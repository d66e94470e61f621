"""Does the guard find every planted collapse within 200 steps, and stay silent over healthy runs?

    python benchmarks/collapse.py --data LABELS.csv --work DIR [--seeds 10] [--methods ...] [--planted-only]

The first 600 pictures of the table at 32 px, 16 a step, timm's test_resnet (test_vit for what learns from patches), one
thread. Healthy: every seed and method for 300 steps. Planted: every fault with each of its methods, up to 200 steps.
Each run is an entry of results/collapse.json as soon as it is over, so what was stopped goes on.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
from machine import answered, asks, keep

RESULTS = Path(__file__).with_name("results") / "collapse.json"
METHODS = ("simclr", "moco", "supcon", "vdvs", "rotation", "deepcluster", "byol", "simsiam", "barlow_twins", "vicreg")
METHODS += ("nnclr", "swav", "dino", "mae", "ijepa", "lejepa")
SIZE, BATCH, COUNT = 32, 16, 600
HEALTHY, PLANTED = 300, 200  # steps


@dataclass(frozen=True)
class Fault:
    """What is planted, with which methods, and the causes by which the guard may name it."""

    methods: tuple[str, ...]
    causes: tuple[str, ...]
    plant: Callable[[Any], Any] = lambda trainer: None  # into the trainer
    recipe: Callable[[Any], Any] = lambda recipe: recipe
    pictures: Callable[[], AbstractContextManager[Any]] = nullcontext  # around the trainer's whole life


def on_output(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change what the encoder gives."""
    return lambda trainer: trainer.method.product.register_forward_hook(lambda module, given, out: change(out))


def on_head(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change what the loss compares, where it is no whole number."""

    def plant(trainer: Any) -> None:
        projected(trainer, lambda rows: change(rows) if rows.is_floating_point() else rows)

    return plant


def projected(trainer: Any, change: Callable[[Any], Any]) -> None:
    """Change every projection."""
    honest = trainer.method.project

    def project(method: Any, batch: Any) -> Any:
        return {name: change(rows) for name, rows in honest(batch).items()}

    trainer.method.project = MethodType(project, trainer.method)


def constant(rows: Any) -> Any:
    """One for everything, on the graph."""
    return rows * 0 + 1


def tiny(rows: Any) -> Any:
    """A millionth."""
    return rows * 1e-6


def batch_mean(rows: Any) -> Any:
    """The same for all of a batch."""
    return rows.mean(dim=0, keepdim=True).expand_as(rows)


def half_still(rows: Any) -> Any:
    """Half of the dimensions at 0."""
    rows = rows.clone()
    rows[..., : rows.shape[-1] // 2] = 0
    return rows


def a_plane(rows: Any) -> Any:
    """Every dimension a copy of the first or the second."""
    return rows[..., :2].repeat_interleave(rows.shape[-1] // 2, dim=-1)


def stale(trainer: Any) -> None:
    """The queue takes nothing in."""
    trainer.method.queue.enqueue = lambda keys: None


def clusters(change: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """Change what was clustered."""

    def plant(trainer: Any) -> None:
        part = trainer.method.partition
        honest = part.replace
        part.replace = lambda found: honest(change(found, part.clusters))

    return plant


def one_code(trainer: Any) -> None:
    """Every patch has the first code."""
    projected(trainer, lambda rows: rows if rows.is_floating_point() else rows * 0)


@contextmanager
def white() -> Iterator[None]:
    """Every picture is white."""
    from selfsight.data.pictures import Pictures

    honest = Pictures.read
    Pictures.read = lambda *asked: (np.full_like((found := honest(*asked))[0], 255), found[1])  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Pictures.read = honest  # type: ignore[method-assign]


def unpredicted(trainer: Any) -> None:
    """The predictor passes on what it is given."""
    trainer.method.predictor.forward = lambda rows: rows


def uncentred(trainer: Any) -> None:
    """The centre stays where it is."""
    honest = trainer.method.on_step_end

    def on_step_end(method: Any, projections: Any, batch: Any) -> None:
        honest(projections, batch)
        method.centre.zero_()

    trainer.method.on_step_end = MethodType(on_step_end, trainer.method)


def at_rate(times: int) -> Callable[[Any], Any]:
    """So many times the published rate, as it stands: that of this small batch is itself a tenth of it."""

    def changed(recipe: Any) -> Any:
        from selfsight import methods

        published = methods.get(recipe.method).defaults(SIZE)
        return replace(recipe, lr=times * published.lr, optimizer=published.optimizer)

    return changed


def with_settings(**values: Any) -> Callable[[Any], Any]:
    """Settings as they should not be, of those that the method has."""

    def changed(recipe: Any) -> Any:
        own = {name: value for name, value in values.items() if name in recipe.settings}
        return replace(recipe, settings={**recipe.settings, **own})

    return changed


def some(table: Path, count: int, target: Path) -> Path:
    """The first rows of a table of pictures, as one of its own."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(islice(csv.DictReader(file), count))
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "w", newline="", encoding="utf-8") as file:
        written = csv.DictWriter(file, list(rows[0]))
        written.writeheader()
        written.writerows(row | {"path": str(table.absolute().parent / row["path"])} for row in rows)
    return target


COLLAPSED = (
    "complete_collapse",
    "dimensional_collapse",
    "dead_dimensions",
    "constant_head",
    "stuck_at_chance",
    "not_finite",
)
FAULTS = {
    "lr x 100": Fault(("simclr", "moco", "rotation", "vdvs"), COLLAPSED, recipe=at_rate(100)),
    "no predictor": Fault(
        ("byol", "simsiam"),
        COLLAPSED,
        unpredicted,
        lambda recipe: with_settings(teacher_momentum=0.9)(at_rate(1)(recipe)),  # one that follows within 200 steps
    ),
    "no centre, nothing sharpened": Fault(
        ("dino",), COLLAPSED, uncentred, with_settings(temperature=0.04, teacher_temperature=0.04)
    ),
    "constant pictures": Fault(("simclr", "vdvs", "rotation"), ("alike_pictures",), pictures=white),
    "encoder x 1e-6": Fault(("simclr", "vdvs", "rotation"), ("complete_collapse",), on_output(tiny)),
    "encoder constant": Fault(("simclr", "moco", "vdvs"), ("complete_collapse",), on_output(constant)),
    "encoder is the batch's mean": Fault(("simclr", "vdvs"), ("complete_collapse",), on_output(batch_mean)),
    "encoder in a plane": Fault(("simclr", "vdvs"), ("dimensional_collapse",), on_output(a_plane)),
    "half of the dimensions at 0": Fault(("simclr", "moco", "vdvs"), ("dead_dimensions",), on_output(half_still)),
    "head x 1e-6": Fault(("simclr", "moco", "rotation"), ("stuck_at_chance", "constant_head"), on_head(tiny)),
    "head constant": Fault(
        ("simclr", "moco", "rotation", "barlow_twins", "vicreg", "nnclr", "swav"), ("constant_head",), on_head(constant)
    ),
    "frozen teacher": Fault(
        ("moco", "byol", "dino", "ijepa"), ("frozen_teacher",), recipe=with_settings(teacher_momentum=1.0)
    ),
    "stale queue": Fault(("moco", "nnclr"), ("stale_queue",), stale),
    "empty clusters": Fault(
        ("deepcluster", "deepcluster_v2"), ("empty_clusters",), clusters(lambda found, count: found % (count // 4))
    ),
    "one cluster": Fault(("deepcluster",), ("empty_clusters",), clusters(lambda found, count: found * 0)),
    "one code": Fault(("vq", "dvae"), ("one_code",), one_code),
}


class Stopped(Exception):  # noqa: N818 - no error
    """The guard has said something: a planted run has no need to go on."""


def ran(data: Path, folder: Path, method: str, seed: int, steps: int, fault: Fault | None = None) -> dict[str, Any]:
    """One run: what the guard said, when, and the range of every sign. What it wrote stays beside the folder."""
    from selfsight.errors import Interrupted, TrainingError
    from selfsight.training import guard

    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    with (fault or Fault((), ())).pictures():
        trainer = trainer_of(data, folder, method, seed, steps, fault)
        lines: list[dict[str, Any]] = []
        note = trainer.note

        def noted(step: int, **values: Any) -> None:
            note(step, **values)
            lines.append({"step": step, **values})
            if fault and trainer.guard.told:
                raise Stopped

        trainer.note = noted
        try:
            trainer.fit()
        except (Stopped, TrainingError) as ended:  # the guard has said something, or three steps were not finite
            if isinstance(ended, Interrupted):
                raise
    (folder / "metrics.jsonl").replace(folder.with_suffix(".jsonl"))
    shutil.rmtree(folder)
    told = {"chance": trainer.guard.chance, "lr": trainer.recipe.lr, "seconds": round(time.monotonic() - started, 1)}
    return judged(folder.with_suffix(".jsonl"), told) | {"signs": ranges(lines, guard.SIGN)}


def judged(metrics: Path, row: dict[str, Any]) -> dict[str, Any]:
    """The row, with what the guard of today says to these lines: a changed threshold needs no new runs."""
    from selfsight.training.guard import Guard

    watching, alarms, steps = Guard(row["lr"], lambda: row["chance"]), [], 0
    for line in map(json.loads, metrics.read_text().splitlines()):
        alarms += [[line["step"], alarm.cause] for alarm in watching.note(line)]
        steps = line["step"]
    return row | {"alarms": alarms, "steps": steps}


def ranges(lines: list[dict[str, Any]], mark: str) -> dict[str, list[float]]:
    """For each sign its value before training, then the least and the largest while training."""
    seen = [{name.removeprefix(mark): v for name, v in line.items() if name.startswith(mark)} for line in lines]
    seen = [one for one in seen if one]
    names = dict.fromkeys(name for one in seen for name in one)
    columns = {name: [one[name] for one in seen[1:] if name in one] or [float("nan")] for name in names}
    return {
        name: [float(f"{value:.3g}") for value in (seen[0].get(name, -1.0), min(column), max(column))]
        for name, column in columns.items()
    }


def trainer_of(data: Path, folder: Path, method: str, seed: int, steps: int, fault: Fault | None) -> Any:
    """What `selfsight train` would make, with the fault in it."""
    from selfsight import methods
    from selfsight.data import source
    from selfsight.data.manifest import scan
    from selfsight.training.autotune import stand_in
    from selfsight.training.build import engine, method_of, optimizer_of
    from selfsight.training.data import TrainingData
    from selfsight.training.loop import Trainer
    from selfsight.training.plan import plan
    from selfsight.training.progress import Watcher
    from selfsight.training.request import Request

    manifest = scan(source.find(data))
    patches = methods.get(method).defaults(SIZE).encoder.startswith("vit")
    asked = Request(
        data=[str(data)], method=method, encoder="test_vit" if patches else "test_resnet", size=SIZE, batch=BATCH,
        length=f"{steps}steps", threads=1, precision="fp32", device="cpu", seed=seed,
    )  # fmt: skip
    recipe = plan(asked, manifest)[0]
    recipe = fault.recipe(recipe) if fault else recipe
    folder.mkdir(parents=True)
    made = method_of(recipe, stand_in(recipe.before) if recipe.before else None)
    optimizer, loaded = optimizer_of(recipe, made), TrainingData(recipe, manifest, made, folder, 0)
    watcher = Watcher(recipe, quiet=True)
    trainer = Trainer(recipe, folder, engine(recipe), made, optimizer, loaded, watcher, save_every=3600.0)
    if fault:
        fault.plant(trainer)
    return trainer


def table(results: dict[str, Any]) -> str:
    """Planted faults and when they were found, then the healthy runs."""
    lines = ["| planted | method | found as | at step |", "|---|---|---|---|"]
    for name, row in results["planted"].items():
        fault, method = name.split(" / ")
        right = [(step, cause) for step, cause in row["alarms"] if cause in FAULTS[fault].causes]
        said = (right[0][1].replace("_", " "), right[0][0]) if right else ("not found", "")
        lines.append(f"| {fault} | {method} | {said[0]} | {said[1]} |")
    healthy = results["healthy"]
    lines += ["", "| healthy | runs of 300 steps | alarms |", "|---|---|---|"]
    for method in dict.fromkeys(name.split(" / ")[0] for name in healthy):
        own = [row for name, row in healthy.items() if name.startswith(f"{method} / ")]
        causes = [cause.replace("_", " ") for row in own for _, cause in row["alarms"]]
        lines.append(f"| {method} | {len(own)} | {', '.join(causes) or 0} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = asks(__doc__, RESULTS)
    parser.add_argument("--work", type=Path, help="where the runs may write")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--planted-only", action="store_true")
    asked = answered(parser, "data", "work")
    found = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    results: dict[str, Any] = {part: found.get(part, {}) for part in ("planted", "healthy")}
    seeds = [] if asked.planted_only else range(asked.seeds)
    waiting = [(f"{method} / {seed}", "healthy") for seed in seeds for method in asked.methods]
    waiting += [(f"{name} / {method}", "planted") for name, fault in FAULTS.items() for method in fault.methods]
    data = None if asked.table else some(asked.data, COUNT, asked.work / "labels.csv")
    for name, part in waiting if data else []:
        folder = asked.work / name.replace(" / ", "-").replace(" ", "_").replace("'", "")
        if name in results[part] and folder.with_suffix(".jsonl").exists():
            results[part][name] = judged(folder.with_suffix(".jsonl"), results[part][name])
        if name not in results[part]:
            first, second = name.split(" / ")
            planted = part == "planted"
            method, seed, steps = (second, 0, PLANTED) if planted else (first, int(second), HEALTHY)
            fault = FAULTS[first] if planted else None
            results[part][name] = ran(data, folder, method, seed, steps, fault)
            print(part, name, {key: value for key, value in results[part][name].items() if key != "signs"}, flush=True)
            keep(asked.json, results)
    if data:  # without those of faults that there are no more
        kept = dict(waiting)
        results["planted"] = {name: row for name, row in results["planted"].items() if kept.get(name) == "planted"}
        keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
