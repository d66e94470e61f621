"""Where the time goes that training takes beyond its step: reading, views, monitor, guard, saves, and the rest.

    python benchmarks/attribution.py [--encoders resnet18 ...] [--sizes 64 32 224] [--steps 5] [--run 1000]

SimCLR as the plan has it for a run of `--run` steps, on crops of photographs, in one process and on one thread. All
figures are processor seconds, the median of a few, in turns, so that another program disturbs all alike; the share is
of our step alone (forward, backward and optimizer of end_to_end.py, with memory and layers as in training). What runs
in other threads counts in full: on a machine whose cores all train it is taken from them. Above 96 px a batch is 32.
Rows that are in the result file and were made with the same options are not measured again, those of others give way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import machine
import photographs
from end_to_end import SIDE, SMALL, alone, bare_step

RESULTS = Path(__file__).with_name("results") / "attribution.json"
PARTS = {
    "views": "views of what is decoded already",
    "reading": "reading and decoding, in the first epoch only",
    "checks": "checks that all is finite, schedule, journal",
    "engine": "the step by way of the engine, against the bare one",
    "looks": "looks of the monitor",
    "glances": "glances of the guard",
    "saves": "saves, as often as is usual",
}


def measured(folder: str, scratch: str, encoder: str, size: int, batch: int, asked: argparse.Namespace) -> Any:
    """Processor seconds of a step and of what lies beside it, per step."""
    import numpy as np

    from selfsight import checkpoints, heap
    from selfsight.data.loader import Loader
    from selfsight.data.manifest import scan
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import format_of
    from selfsight.data.source import find
    from selfsight.training import gradcache, guard, state
    from selfsight.training.build import engine, method_of, optimizer_of
    from selfsight.training.data import TrainingData
    from selfsight.training.guard import Guard
    from selfsight.training.journal import Journal
    from selfsight.training.loop import Trainer
    from selfsight.training.plan import plan
    from selfsight.training.progress import Watcher
    from selfsight.training.request import Request
    from selfsight.training.saver import Saver

    request = Request(
        data=[folder], method="simclr", encoder=encoder, size=size, batch=batch, device="cpu", threads=1,
        length=f"{asked.run}steps", precision=asked.precision, use_all=True,
    )  # fmt: skip
    manifest = scan(find(request.data), use_all=True)
    recipe = plan(request, manifest)[0]
    method, run = method_of(recipe), Path(scratch)
    data, watcher = TrainingData(recipe, manifest, method, run, 0), Watcher(recipe, quiet=True)
    os.environ["SELFSIGHT_CACHE"] = f"{scratch}/unread"  # the monitor has read its pictures into the other one
    unread = Pictures(manifest, format_of(recipe), kept=True)
    loader = Loader(unread, data.rows, data.labels, data.loader.views, seed=recipe.seed, workers=0)
    trainer = Trainer(recipe, run, engine(recipe), method, optimizer_of(recipe, method), data, watcher, None)
    trainer.wrapped, trainer.optimizer = trainer.fabric.setup(method, trainer.optimizer)
    trainer.wrapped.mark_forward_method("project")
    trainer.running, trainer.failures, trainer.signs = gradcache.running_statistics(method), 0, {}
    trainer.journal, trainer.guard = Journal(run, 0), Guard(recipe.lr, lambda: None)
    saver, optimizer, times = Saver(None, print), trainer.raw_optimizer, dict[str, list[float]]()

    def take(name: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        began = time.process_time()
        found = work(*given, **named)
        times.setdefault(name, []).append(time.process_time() - began)
        return found

    bare = partial(bare_step, recipe, method, optimizer, ours=True)

    def write(files: Any) -> None:
        checkpoints.write(run / "checkpoints", len(times["bare"]), files, {})

    trainer.gradient = partial(take, "engine", trainer.gradient)
    trainer.optimizer.step = partial(take, "optimizer", trainer.optimizer.step)
    trainer.optimizer.zero_grad = partial(take, "cleared", trainer.optimizer.zero_grad)
    with heap.kept():
        bare(data.loader.collate(np.arange(batch), 0))
        for turn in range(asked.steps + 1):
            indices = np.arange(turn * batch, (turn + 1) * batch) % len(data.rows)
            take("reading", loader.collate, indices, turn * batch)
            one = take("views", loader.collate, indices, turn * batch)
            for name, work in (("bare", bare), ("step", partial(trainer.step, 1)))[:: 1 if turn % 2 else -1]:
                take(name, work, one)
            take("looks", data.monitor.look, method.product, trainer.fabric.autocast)
            take("glances", trainer.glance, 1)
            saver.save(lambda room: state.pack(method, optimizer, room), write, must=True)
            times.setdefault("saves", []).append(saver.cost / saver.usual)
    saver.close()
    cost = {name: median(values[1:]) for name, values in times.items()}
    step = cost["bare"]
    within = [
        sum(parts) for parts in zip(*(times[name][1:] for name in ("engine", "optimizer", "cleared")), strict=True)
    ]
    beside = [whole - part for whole, part in zip(times["step"][1:], within, strict=True)]
    shares = {"views": cost["views"], "reading": cost["reading"] - cost["views"]}
    shares |= {"checks": median(beside), "engine": median(within) - step}
    shares |= {"looks": cost["looks"] * recipe.monitor_points / recipe.steps, "glances": cost["glances"] / guard.EVERY}
    shares |= {"saves": step * cost["saves"]}
    return {
        "encoder": encoder, "size": size, "batch": batch, "precision": recipe.precision, "run": recipe.steps,
        "looks": recipe.monitor_points, "pictures": recipe.monitor_pictures, "seconds": round(step, 4),
        "shares": {name: round(value / step, 4) for name, value in shares.items()},
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown: shares of the bare step's processor time."""
    rows = results["rows"]
    later = [1 / (1 + sum(value for part, value in row["shares"].items() if part != "reading")) for row in rows]
    columns = {"beside the bare step": [f"{row['encoder']}, {row['size']} px, {row['precision']}" for row in rows]}
    columns |= {"bare step, s": [f"{row['seconds']:.2f}" for row in rows]}
    columns |= {told: [f"{row['shares'][part]:.1%}" for row in rows] for part, told in PARTS.items()}
    columns |= {"left of its speed where all cores train, once all is read": [f"{one:.2f}" for one in later]}
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in columns.items()]
    lines.insert(1, "|---|" + "---|" * len(rows))
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, keep and print."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "vit_tiny_patch16_224"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 32, 224], help="sides of the views, pixels")
    for name, default in (("batch", 128), ("steps", 5), ("run", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one, measured")
    asked = machine.answered(parser)
    rows = machine.before(asked.json)["rows"]
    for encoder in () if asked.table else asked.encoders:
        for size in asked.sizes:
            batch = asked.batch if size <= SMALL else asked.batch // 4
            key = {"encoder": encoder, "size": size, "asked": asked.precision}
            options = {"batch": batch, "run": asked.run, "steps": asked.steps}
            if any((key | options).items() <= row.items() for row in rows):
                continue
            rows = [row for row in rows if not key.items() <= row.items()]
            with tempfile.TemporaryDirectory(prefix="attribution_") as scratch:
                count, side = (asked.steps + 1) * batch // 2 * 2, SIDE if size <= SMALL else 400
                folder = photographs.crops(Path(scratch, "pictures"), count=count, side=side, suffix=".jpg")
                os.environ["SELFSIGHT_CACHE"] = f"{scratch}/cache"
                found = alone(measured, str(folder), scratch, encoder, size, batch, asked)
                rows.append({**key, **options, **found})
            machine.keep(asked.json, {"rows": rows})
    print(table({"rows": rows}))


if __name__ == "__main__":
    main()
