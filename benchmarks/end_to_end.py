"""How much of the bare training step is left end to end, and how that compares with lightly?

    python benchmarks/end_to_end.py [--data FOLDER] [--sizes 64 32 224] [--encoder resnet18] [--json FILE] [--rounds 3]
    python benchmarks/end_to_end.py --encoder vit_tiny_patch16_224 --sizes 64
    python benchmarks/end_to_end.py --table

SimCLR, for each size of the views. Five sides take turns, each in a process of its own, forwards and backwards by
round:

* bare: forward, backward and optimizer of our method on one batch of tensors that is in memory, in plain PyTorch
* bare_kept: the same as our training does it: freed memory stays with the process (heap.py), convolutions and attention
  are ours (layers.py). What is missing to it is what we do beside the step; in_turns.py tells that more exactly than
  two processes can
* ours: `selfsight train FOLDER` as users run it, monitor looks and saves included. The time is that between the first
  look and the last in the run's own timing.jsonl, so start-up and autotune are left out. A run as short as this would
  look for longer than the 1 % of its time that a real one does, so its looks are at fewer pictures
* lightly_equal: lightly's plain PyTorch example (lightly_simclr.py) on the same folder in our precision
* lightly_defaults: the same as it comes, in fp32

All have the same view size, batch and number of threads; precision and layout are what our plan chooses by measuring,
or `--precision`. lightly is measured with each of `--lightly-workers` and its best counts. Shown are the median over
rounds and, for ratios, the median, least and most of each round's own ratio; and what one thread needs to decode a
picture and to draw its two views, ours and lightly's. Above 96 px a batch is 32 and there are a third as many steps.
A row that is in the result file and was made with the same options is not made again; one of the same encoder and size
that was made with others gives way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
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
from layers import attending, torchs

if TYPE_CHECKING:
    from selfsight.recipe import Recipe

RESULTS = Path(__file__).with_name("results") / "end_to_end.json"
TARGETS = {"lightly_equal": 1.2, "lightly_defaults": 1.85}  # ours against each, at least
AIMED = {"lightly_equal": ("resnet18", 64), "lightly_defaults": ("resnet18", 64)}  # elsewhere these are only told
SMALL = 96  # pixels: above it batch and steps are fewer
SHOWN = 64  # pictures that decoding and views are timed on
WARMUP = 3  # steps before the clock starts
ASKED = {"precision": None, "threads": None, "lightly_workers": [0, 2]}  # as is usual: a row says what came of it
CROPS, SIDE = 4096, 128  # pictures where no folder is named: a few epochs' worth, and larger than the views
FEWEST = 8  # pictures of a look, by which something can be told apart


@dataclass(frozen=True)
class Bench:
    """What all sides share."""

    folder: str
    scratch: str
    encoder: str
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
        data=[bench.folder], method="simclr", encoder=bench.encoder, size=bench.size, batch=bench.batch, device="cpu",
        length=f"{bench.steps}steps", precision=bench.precision, threads=bench.threads, use_all=True,
        lr=0.06, settings={"optimizer": "sgd"},  # as lightly's example
    )  # fmt: skip
    recipe, reasons = planning.plan(request, scan(find(request.data), use_all=True))
    (Path(bench.scratch) / "recipe.yaml").write_text(recipe.to_yaml(reasons))
    return recipe.precision, recipe.threads


def shown(steps: int, batch: int, looks: int) -> int:
    """At how many pictures so many looks cost the share that they have of a real run; of a few two views are drawn."""
    from selfsight.training.length import MONITOR_SHARE
    from selfsight.training.monitor import PAIRED

    views = MONITOR_SHARE * steps * batch * 6 / looks  # a step computes two views, forward and backward
    return max(FEWEST, int(min(2000, views / 3 if views < 3 * PAIRED else views - 2 * PAIRED)))


def bare_kept(bench: Bench) -> float:
    """Images/s of the step alone, as our training does it."""
    from selfsight import heap
    from selfsight.training.build import method_of

    with heap.kept():
        return stepped(bench, method_of(bench.recipe), ours=True)


def bare_step(recipe: Recipe, method: Any, optimizer: Any, batch: Any, *, ours: bool) -> None:
    """Forward, backward and optimizer alone, in plain PyTorch or as our training does it."""
    import torch

    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"), attending(ours):
        projections = method.project(batch)
    method.loss({name: rows.float() for name, rows in projections.items()}, batch)["loss"].backward()
    optimizer.step()


def bare(bench: Bench) -> float:
    """Images/s of the step alone, in plain PyTorch."""
    from selfsight.training.build import method_of

    return stepped(bench, torchs(method_of(bench.recipe)), ours=False)


def stepped(bench: Bench, method: Any, *, ours: bool) -> float:
    """Images/s of the step of this method alone."""
    import time

    import numpy as np
    import torch

    from selfsight.data.loader import Loader
    from selfsight.data.manifest import scan
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import format_of
    from selfsight.data.source import find
    from selfsight.training.build import optimizer_of

    recipe = bench.recipe
    torch.set_num_threads(recipe.threads)
    manifest = scan(find(recipe.data), use_all=True)
    optimizer = optimizer_of(recipe, method)
    pictures, labels = Pictures(manifest, format_of(recipe)), torch.from_numpy(manifest.labels)
    views = method.views(recipe.side)
    batch = Loader(pictures, manifest.train_rows(), labels, views, seed=0, workers=0).collate(np.arange(bench.batch), 0)
    for step in range(WARMUP + bench.short):
        if step == WARMUP:
            started = time.perf_counter()
        bare_step(recipe, method, optimizer, batch, ours=ours)
    return bench.short * bench.batch / (time.perf_counter() - started)


def ours(bench: Bench) -> float:
    """Images/s of a real run, from its first look to its last."""
    recipe = bench.recipe
    with tempfile.TemporaryDirectory(dir=bench.scratch) as out:
        command = [sys.executable, "-m", "selfsight", "train", bench.folder, "--out", f"{out}/run", "--use-all"]
        command += ["--method", "simclr", "--encoder", bench.encoder, "--device", "cpu", "--for", f"{bench.steps}steps"]
        command += ["--size", str(bench.size), "--batch", str(bench.batch), "--threads", str(recipe.threads)]
        command += ["--precision", recipe.precision, "--set", f"channels_last={str(recipe.channels_last).lower()}"]
        command += ["--lr", str(recipe.lr), "--set", "optimizer=sgd"]
        looked = min(recipe.monitor_pictures, shown(bench.steps, bench.batch, recipe.monitor_points))
        command += ["--set", f"monitor_pictures={looked}"]
        cache = {"SELFSIGHT_CACHE": f"{out}/cache"}  # of decoded pictures: each round decodes anew
        command += ["--save-every", bench.save_every]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cache})
        looks = [json.loads(line) for line in Path(out, "run", "timing.jsonl").read_text().splitlines()]
    first, last = next(look for look in looks if look["step"] >= min(WARMUP, bench.steps // 2)), looks[-1]
    return (last["step"] - first["step"]) * bench.batch / (last["seconds"] - first["seconds"])


def lightly(bench: Bench, precision: str, workers: int) -> float:
    """Images/s of lightly's example."""
    import lightly_simclr

    return lightly_simclr.measure(
        Path(bench.folder), encoder=bench.encoder, precision=precision, size=bench.size, batch=bench.batch,
        steps=bench.short, warmup=WARMUP, workers=workers, threads=bench.recipe.threads,
    ).images_per_second  # fmt: skip


def parts(bench: Bench) -> dict[str, dict[str, float]]:
    """Processor milliseconds for a picture on one thread: to decode it, and to draw two views."""
    import time

    import cv2
    import numpy as np
    import torch
    from lightly.transforms import SimCLRTransform
    from torchvision.datasets.folder import default_loader

    from selfsight.data.decode import decode
    from selfsight.views.recipes import multi_view

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    files = sorted(path for path in Path(bench.folder).rglob("*") if path.suffix in (".jpg", ".png"))[:SHOWN]
    ours, theirs = multi_view("simclr", bench.size), SimCLRTransform(input_size=bench.size)
    sides = {
        "selfsight": (lambda file: decode(str(file)), lambda picture: ours(picture, np.random.default_rng(0))),
        "lightly": (default_loader, theirs),
    }
    found: dict[str, dict[str, float]] = {}
    for name, works in sides.items():
        things: list[Any] = list(files)
        for part, work in zip(("decode", "views"), works, strict=True):
            work(things[0])
            started = time.process_time()
            things = [work(thing) for thing in things]
            found.setdefault(name, {})[part] = round(1000 * (time.process_time() - started) / len(files), 3)
    return found


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a new process that ends afterwards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(bench: Bench, rounds: int, workers: list[int]) -> dict[str, list[float]]:
    """Images/s of every side in every round."""
    precision, _ = alone(plan, bench)
    sides: dict[str, Callable[[], float]] = {"bare": lambda: alone(bare, bench), "ours": lambda: ours(bench)}
    sides["bare_kept"] = lambda: alone(bare_kept, bench)
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
    """Ours against each other side, round by round."""
    found = {}
    for name in speeds.keys() - {"ours"}:
        values = [own / other for own, other in zip(speeds["ours"], speeds[name], strict=True)]
        found[name] = summary(values, 3)
    return found


def kind(row: dict[str, Any]) -> str:
    """What was trained, and how."""
    layout = ", channels last" if row["channels_last"] else ""
    how = f"{row['precision']}{layout}, {row['threads']} threads"
    return f"{row['encoder']}, {row['size']} px, batch {row['batch']}, {how}"


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| what | side | images/s (least to most) | ours against it | at least | reached |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        what = f"{kind(row)}; {row['pictures']}"
        for name in ("ours", "bare", "bare_kept", "lightly_equal", "lightly_defaults"):
            if name not in row["images_per_second"]:
                continue
            speed, ratio = row["images_per_second"][name], row["ratios"].get(name)
            told = f"| {what} | {name.replace('_', ', ')} | {spread(speed, 1)} |"
            lines.append(told + (aim(name, row, ratio) if ratio else " | | |"))
            what = ""
    told = [line for row in results["rows"] if (line := shares(row))]
    return "\n".join([*lines, *(["", *told] if told else [])])


def spread(summed: dict[str, Any], digits: int) -> str:
    """Median, least and most."""
    return f"{summed['median']:.{digits}f} ({summed['least']:.{digits}f} to {summed['most']:.{digits}f})"


def aim(name: str, row: dict[str, Any], ratio: dict[str, Any]) -> str:
    """A ratio beside what is to be reached, if anything is."""
    if name not in TARGETS or AIMED.get(name, (row["encoder"], row["size"])) != (row["encoder"], row["size"]):
        return f" {spread(ratio, 2)} | | |"
    return f" {spread(ratio, 2)} | {TARGETS[name]:.2f} | {'yes' if ratio['median'] >= TARGETS[name] else 'no'} |"


def shares(row: dict[str, Any]) -> str:
    """What decoding, views and precision have to do with it."""
    if "milliseconds" not in row:
        return ""
    ours, theirs = row["milliseconds"]["selfsight"], row["milliseconds"]["lightly"]
    speeds = {name: row["images_per_second"][name]["median"] for name in ("lightly_equal", "lightly_defaults")}
    return (
        f"* {row['encoder']}, {row['size']} px: a picture is decoded in {ours['decode']:.2f} ms (lightly "
        f"{theirs['decode']:.2f}), its views drawn in {ours['views']:.2f} ms ({theirs['views']:.2f}); lightly in "
        f"{row['precision']} is {speeds['lightly_equal'] / speeds['lightly_defaults']:.2f} times itself in fp32."
    )


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 32, 224], help="sides of the views, pixels")
    for name, default in (("batch", 128), ("steps", 100), ("short-steps", 20), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one, measured")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument("--save-every", default="60s", help="how often our run saves")
    parser.add_argument("--lightly-workers", type=int, nargs="+", default=[0, 2], help="the best of these counts")
    return machine.answered(parser)


def side_of(size: int) -> int:
    """Pixels of the pictures where no folder is named."""
    return SIDE if size <= SMALL else min(2 * size, 400)


def crops_for(size: int) -> int:
    """How many there are then, of each photograph as many."""
    return CROPS if size <= SMALL else CROPS // 3 // 2 * 2


def key_of(asked: argparse.Namespace, size: int) -> dict[str, Any]:
    """The options that a row is made with."""
    fewer = 1 if size <= SMALL else 3
    return {
        "encoder": asked.encoder,
        "size": size,
        "batch": asked.batch if size <= SMALL else asked.batch // 4,
        "steps": max(WARMUP + 1, asked.steps // fewer),
        "short_steps": max(1, asked.short_steps // fewer),
        "rounds": asked.rounds,
        "save_every": asked.save_every,
        "looks": "as in a real run",
        "layers": "ours",
        "pictures": asked.data.name if asked.data else f"{crops_for(size):,} crops of photographs, {side_of(size)} px",
        "asked": {name: value for name, usual in ASKED.items() if (value := getattr(asked, name)) != usual},
    }


def row(asked: argparse.Namespace, size: int) -> dict[str, Any]:
    """All sides at one size."""
    key = key_of(asked, size)
    with tempfile.TemporaryDirectory(prefix="end_to_end_") as scratch:
        made = Path(scratch, "pictures")
        folder = asked.data or photographs.crops(made, count=crops_for(size), side=side_of(size), suffix=".jpg")
        bench = Bench(
            str(folder.absolute()), scratch, asked.encoder, size, key["batch"], key["steps"], key["short_steps"],
            asked.precision, asked.threads, asked.save_every,
        )  # fmt: skip
        milliseconds = alone(parts, bench)
        speeds = measure(bench, asked.rounds, asked.lightly_workers)
        recipe = bench.recipe
    return {
        **key,
        "precision": recipe.precision,
        "channels_last": recipe.channels_last,
        "threads": recipe.threads,
        "images_per_second": {name: summary(values, 2) for name, values in speeds.items()},
        "ratios": ratios(speeds),
        "milliseconds": milliseconds,
    }


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    rows = machine.before(asked.json)["rows"]
    for size in [] if asked.table else asked.sizes:
        key = key_of(asked, size)
        if any(key.items() <= ({"asked": {}} | one).items() and "milliseconds" in one for one in rows):
            continue
        rows = [one for one in rows if (one["encoder"], one["size"]) != (asked.encoder, size)]
        rows.append(row(asked, size))
        machine.keep(asked.json, {"rows": rows})
    print(table({"rows": rows}))


if __name__ == "__main__":
    main()
