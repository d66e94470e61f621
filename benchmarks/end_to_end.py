"""How much of the bare training step is left end to end, and how that compares with lightly?

    python benchmarks/end_to_end.py [--data FOLDER] [--size 64] [--batch 128] [--steps 100] [--rounds 3] [--json FILE]

SimCLR with a ResNet-18. Four sides take turns, each in a process of its own, forwards and backwards by round:

* bare: forward, backward and optimizer of our method on one batch of tensors that is in memory
* ours: `selfsight train FOLDER` as users run it, monitor looks and saves included. The time is that between the first
  look and the last in the run's own timing.jsonl, so start-up and autotune are left out. A run of 100 steps looks more
  often than a long one does, and here it saves twice as often as by default: both count against us
* lightly_equal: lightly's plain PyTorch example (lightly_simclr.py) on the same folder in our precision
* lightly_defaults: the same as it comes, in fp32

All have the same view size, batch and number of threads; precision and layout are what our plan chooses by measuring,
or `--precision`. lightly is measured with each of `--lightly-workers` and its best counts. Shown are the median over
rounds and, for ratios, the median, least and most of each round's own ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import machine
import photographs

if TYPE_CHECKING:
    from selfsight.recipe import Recipe

TARGETS = {"bare": 0.90, "lightly_equal": 1.1, "lightly_defaults": 1.7}  # ours against each, at least
WARMUP = 3  # steps before the clock starts
CROPS, SIDE = 1024, 128  # pictures where no folder is named: a few epochs' worth, and larger than the views


@dataclass(frozen=True)
class Bench:
    """What all sides share."""

    folder: str
    scratch: str
    size: int
    batch: int
    steps: int  # of ours
    short: int  # of the others, which have no looks and saves to average over
    precision: str | None
    threads: int | None
    save_every: str

    @property
    def recipe(self) -> Recipe:
        """The planned run."""
        from selfsight.recipe import Recipe

        return Recipe.from_yaml(Path(self.scratch) / "recipe.yaml")


def plan(bench: Bench) -> tuple[str, int]:
    """Plan our run as `train` would, and keep the recipe for all sides. Returns precision and threads."""
    from selfsight.data.manifest import scan
    from selfsight.data.source import find
    from selfsight.training import plan as planning
    from selfsight.training.request import Request

    request = Request(
        data=[bench.folder], method="simclr", encoder="resnet18", size=bench.size, batch=bench.batch, device="cpu",
        length=f"{bench.steps}steps", precision=bench.precision, threads=bench.threads, use_all=True,
    )  # fmt: skip
    recipe, reasons = planning.plan(request, scan(find(request.data), use_all=True))
    (Path(bench.scratch) / "recipe.yaml").write_text(recipe.to_yaml(reasons))
    return recipe.precision, recipe.threads


def bare(bench: Bench) -> float:
    """Images/s of the step alone."""
    import time

    import numpy as np
    import torch

    from selfsight.data.loader import Loader
    from selfsight.data.manifest import scan
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import format_of
    from selfsight.data.source import find
    from selfsight.training.build import method_of, optimizer_of

    recipe = bench.recipe
    torch.set_num_threads(recipe.threads)
    manifest = scan(find(recipe.data), use_all=True)
    method = method_of(recipe)
    optimizer = optimizer_of(recipe, method)
    pictures, labels = Pictures(manifest, format_of(recipe)), torch.from_numpy(manifest.labels)
    views = method.views(recipe.size)
    batch = Loader(pictures, manifest.train_rows(), labels, views, seed=0, workers=0).collate(np.arange(bench.batch), 0)
    for step in range(WARMUP + bench.short):
        if step == WARMUP:
            started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            projections = method.project(batch)
        method.loss({name: rows.float() for name, rows in projections.items()}, batch)["loss"].backward()
        optimizer.step()
    return bench.short * bench.batch / (time.perf_counter() - started)


def ours(bench: Bench) -> float:
    """Images/s of a real run, from its first look to its last."""
    recipe = bench.recipe
    with tempfile.TemporaryDirectory(dir=bench.scratch) as out:
        command = [sys.executable, "-m", "selfsight", "train", bench.folder, "--out", f"{out}/run", "--use-all"]
        command += ["--method", "simclr", "--encoder", "resnet18", "--device", "cpu", "--for", f"{bench.steps}steps"]
        command += ["--size", str(bench.size), "--batch", str(bench.batch), "--threads", str(recipe.threads)]
        command += ["--precision", recipe.precision, "--set", f"channels_last={str(recipe.channels_last).lower()}"]
        subprocess.run([*command, "--save-every", bench.save_every], check=True, capture_output=True)
        looks = [json.loads(line) for line in Path(out, "run", "timing.jsonl").read_text().splitlines()]
    first, last = next(look for look in looks if look["step"] >= min(WARMUP, bench.steps // 2)), looks[-1]
    return (last["step"] - first["step"]) * bench.batch / (last["seconds"] - first["seconds"])


def lightly(bench: Bench, precision: str, workers: int) -> float:
    """Images/s of lightly's example."""
    import lightly_simclr

    return lightly_simclr.measure(
        Path(bench.folder), precision=precision, size=bench.size, batch=bench.batch, steps=bench.short, warmup=WARMUP,
        workers=workers, threads=bench.recipe.threads,
    ).images_per_second  # fmt: skip


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a new process that ends afterwards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(bench: Bench, rounds: int, workers: list[int]) -> dict[str, list[float]]:
    """Images/s of every side in every round."""
    precision, _ = alone(plan, bench)
    sides: dict[str, Callable[[], float]] = {"bare": lambda: alone(bare, bench), "ours": lambda: ours(bench)}
    kinds = {"lightly_equal": precision, "lightly_defaults": "fp32"}
    for name, kind in kinds.items():
        if kind == "fp32" and name == "lightly_equal":
            continue  # the same thing as its defaults
        sides[name] = lambda kind=kind: max(alone(lightly, bench, kind, count) for count in workers)
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            speeds[name].append(sides[name]())
            print(f"round {turn + 1}: {name} {speeds[name][-1]:.1f} images/s", file=sys.stderr, flush=True)
    return {"lightly_equal": list(speeds["lightly_defaults"]), **speeds}


def summary(values: list[float], digits: int) -> dict[str, Any]:
    """Median and spread."""
    return {
        "median": round(median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
        "rounds": [round(value, digits) for value in values],
    }


def ratios(speeds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Ours against each other side, round by round, and what is to be reached."""
    found = {}
    for name, target in TARGETS.items():
        values = [own / other for own, other in zip(speeds["ours"], speeds[name], strict=True)]
        found[name] = {**summary(values, 3), "target": target, "reached": median(values) >= target}
    return found


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    had = results["settings"]
    kind = f"{had['precision']}{', channels last' if had['channels_last'] else ''}, {had['threads']} threads"
    what = f"SimCLR, ResNet-18, {had['size']} px, batch {had['batch']}, {kind}"
    lines = [
        f"{what}; {had['pictures']}; rounds: {had['rounds']}.",
        "",
        "| side | images/s (least to most) | ours against it | at least | reached |",
        "|---|---|---|---|---|",
    ]
    for name in ("ours", "bare", "lightly_equal", "lightly_defaults"):
        speed, ratio = results["images_per_second"][name], results["ratios"].get(name)
        text = f"| {name.replace('_', ', ')} | {speed['median']:.1f} ({speed['least']:.1f} to {speed['most']:.1f}) |"
        if ratio is None:
            lines.append(f"{text} | | |")
            continue
        spread = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
        lines.append(f"{text} {spread} | {ratio['target']:.2f} | {'yes' if ratio['reached'] else 'no'} |")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of pictures (default: crops of scikit-learn's photographs)")
    for name, default in (("size", 64), ("batch", 128), ("steps", 100), ("short-steps", 20), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one, measured")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument("--save-every", default="30s", help="how often our run saves (the default of train is 60s)")
    parser.add_argument("--lightly-workers", type=int, nargs="+", default=[0, 2], help="the best of these counts")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    asked = options()
    with tempfile.TemporaryDirectory(prefix="end_to_end_") as scratch:
        crops = Path(scratch, "pictures")
        folder = asked.data or photographs.crops(crops, count=CROPS, side=SIDE, suffix=".jpg")
        bench = Bench(
            str(folder.absolute()), scratch, asked.size, asked.batch, asked.steps, asked.short_steps, asked.precision,
            asked.threads, asked.save_every,
        )  # fmt: skip
        speeds = measure(bench, asked.rounds, asked.lightly_workers)
        recipe = bench.recipe
    settings = {
        name: getattr(asked, name) for name in ("size", "batch", "steps", "short_steps", "rounds", "save_every")
    }
    settings |= {"precision": recipe.precision, "channels_last": recipe.channels_last, "threads": recipe.threads}
    settings |= {"pictures": asked.data.name if asked.data else f"{SIDE} px crops of photographs"}
    results = {
        "settings": settings,
        "images_per_second": {name: summary(values, 2) for name, values in speeds.items()},
        "ratios": ratios(speeds),
    }
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
