"""What do the looks of the monitor and the glances of the guard cost, beside the steps between them?

    python benchmarks/monitors.py --data LABELS.csv [--steps 6] [--size 64] [--encoder resnet18] [--batch 128]

One process and one thread. The seconds of a step, of a look at the pictures that the plan takes for runs of several
lengths, and of a glance are processor seconds, the median of a few, taken in turn, so that another program disturbs all
alike. From these the share of a run of each length.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

from machine import answered, asks, keep

RESULTS = Path(__file__).with_name("results") / "monitors.json"
LENGTHS = (500, 1000, 2000, 5000, 20000)  # steps


def seconds(work: Callable[[], Any]) -> float:
    """Processor seconds of one go."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measured(asked: Any, folder: Path) -> dict[str, Any]:
    """Seconds of a step, of a look for each length, of a glance, and what they come to."""
    from selfsight.data import source
    from selfsight.data.manifest import scan
    from selfsight.training import guard, length, signs
    from selfsight.training.build import engine, method_of, optimizer_of
    from selfsight.training.data import TrainingData
    from selfsight.training.loop import Trainer
    from selfsight.training.plan import plan
    from selfsight.training.progress import Watcher
    from selfsight.training.request import Request
    from selfsight.training.values import Plan

    manifest = scan(source.find(asked.data))
    request = Request(
        data=[str(asked.data)], method=asked.method, encoder=asked.encoder, size=asked.size, batch=asked.batch,
        length=f"{max(LENGTHS)}steps", threads=1, precision="fp32", device="cpu", seed=0,
    )  # fmt: skip
    recipe = plan(request, manifest)[0]
    method = method_of(recipe)
    data = TrainingData(recipe, manifest, method, folder, 0)
    watcher = Watcher(recipe, quiet=True)
    trainer = Trainer(recipe, folder, engine(recipe), method, optimizer_of(recipe, method), data, watcher, 3600.0)
    order = method.order(trainer.record(0))
    batch = next(data.loader.batches(order, 0, recipe.batch))
    trainer.wrapped, trainer.optimizer = trainer.fabric.setup(method, trainer.optimizer)
    trainer.wrapped.mark_forward_method("project")
    runs = {steps: planned(length.monitor, Plan(), {**vars(recipe), "steps": steps}, manifest) for steps in LENGTHS}
    monitor, every = data.monitor, data.monitor.views
    times: dict[str, list[float]] = {}

    def take(name: str, work: Callable[[], Any]) -> None:
        times.setdefault(name, []).append(seconds(work))

    for _ in range(asked.steps):
        take("step", lambda: trainer.gradient(0, batch) and trainer.optimizer.step())
        take("glance", lambda: monitor.glance(method.product, trainer.fabric.autocast, recipe.batch))
        take("watched", lambda: signs.Watched(method).moved())
        for pictures in sorted({pictures for _, pictures in runs.values()}):
            monitor.views = every[:pictures]
            monitor.labels, labels = monitor.labels[:pictures], monitor.labels
            monitor.groups, groups = monitor.groups[:pictures], monitor.groups
            take(f"look at {pictures}", lambda: monitor.look(method.product, trainer.fabric.autocast))
            monitor.views, monitor.labels, monitor.groups = every, labels, groups
    cost = {name: median(values) for name, values in times.items()}
    glance = (cost["glance"] + cost["watched"]) / guard.EVERY
    lengths = {}
    for steps, (points, pictures) in runs.items():
        looking = points * cost[f"look at {pictures}"]
        share = (looking + steps * glance) / (steps * cost["step"])
        lengths[str(steps)] = {"looks": points, "pictures": pictures, "share": round(share, 4)}
    told = {name: round(value, 4) for name, value in cost.items()}
    return {"seconds": told, "lengths": lengths, "encoder": asked.encoder, "size": asked.size, "batch": asked.batch}


def planned(monitor: Callable[..., None], made: Any, values: dict[str, Any], manifest: Any) -> tuple[int, int]:
    """How many looks the plan takes for these values, and at how many pictures."""
    monitor(made, values, manifest)
    return made.values["monitor_points"], made.values["monitor_pictures"]


def table(results: dict[str, Any]) -> str:
    """The share of the training time for each length."""
    lines = ["| steps | looks | pictures in each | share of the training time |", "|---|---|---|---|"]
    for steps, row in results["monitors"]["lengths"].items():
        lines.append(f"| {steps} | {row['looks']} | {row['pictures']} | {100 * row['share']:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    """Measure, keep and print."""
    import json

    parser = asks(__doc__, RESULTS)
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="how often each is measured")
    asked = answered(parser, "data")
    if asked.table:
        print(table(json.loads(asked.json.read_text())))
        return
    folder = Path(mkdtemp())
    results = {"monitors": measured(asked, folder)}
    shutil.rmtree(folder)
    keep(asked.json, results)
    print(results["monitors"]["seconds"])
    print(table(results))


if __name__ == "__main__":
    main()
