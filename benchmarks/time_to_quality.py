"""How much sooner is an encoder as good as lightly's published recipe makes it?

    python benchmarks/time_to_quality.py --data DIR [--tasks ...] [--seeds 0 1 2] [--for 4epochs] [--set NAME=VALUE ...]
    python benchmarks/time_to_quality.py --table

lightly: its plain PyTorch example with its published recipe for CIFAR-10: SGD 0.06 x B / 128, momentum 0.9, decay 5e-4,
a cosine over 20 epochs, temperature 0.5, views without blur and with half the colour jitter, fp32. Ours: `train` with
the same encoder and size of the views and our defaults, for `--for`; `--set`, `--lr` and `--batch` try other choices,
under the name of `--variant`.

Quality is kNN accuracy (k = 20, T = 0.07) of test pictures among training pictures, the same ones for both, at twenty
moments of a training, while its clock stands still. What is asked: when has it come 80 % of the way from the untrained
network to the best that lightly's recipe reaches? Between two moments a straight line is drawn. Start-up, the choice of
precision and lightly's first look at its files do not count; our monitor and saves do.

DIR is as for quality.py. A row that is in the result file and was made with the same options is not made again, one
that was made with others gives way; each is kept at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import machine
import quality

if TYPE_CHECKING:
    from selfsight.data.manifest import Manifest
    from selfsight.nn.encoder import Encoder

RESULTS = Path(__file__).with_name("results") / "time_to_quality.json"
TASKS = ("terrain_textures", "emoji_free", "fashion_mnist")
EPOCHS, BATCH = 20, 128  # of lightly's recipe
MOMENTS = 20  # at which a training is looked at
BANK, ASKED, NEIGHBOURS, TEMPERATURE = 2_000, 1_000, 20, 0.07  # training and test pictures; k and T
WAY, SOONER = 0.8, 5.0  # the share of the way, and the goal

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Bench:
    """What both sides share, and our choices."""

    table: str  # the task's labels.csv
    columns: dict[str, str]
    encoder: str
    size: int
    seed: int
    threads: int
    workers: int  # of lightly's loader
    length: str
    batch: int | None
    lr: float | None
    settings: dict[str, str]

    def manifest(self) -> Manifest:
        """The listing, with the task's label and split."""
        from selfsight.data import source
        from selfsight.data.manifest import scan

        return scan(source.find(self.table, **self.columns))


class Yardstick:
    """The pictures that quality is measured on."""

    def __init__(self, manifest: Manifest, size: int) -> None:
        import numpy as np

        from selfsight.data import ranges
        from selfsight.data.pictures import Pictures
        from selfsight.embedding.embed import whole_views

        pictures = Pictures(manifest, ranges.measure(manifest, manifest.train_rows()))
        generator = np.random.default_rng(0)
        self.views, self.labels = [], []
        for rows, count in ((manifest.train_rows(), BANK), (np.flatnonzero(manifest.test), ASKED)):
            chosen = np.sort(generator.permutation(rows[manifest.labels[rows] >= 0])[:count])
            parts = list(whole_views(pictures, chosen, size, 256))
            self.views.append([views for views, _ in parts])
            self.labels.append(manifest.labels[np.concatenate([kept for _, kept in parts])])

    def untrained(self, encoder: Encoder) -> float:
        """The score at the start, with batch statistics of the bank."""
        from selfsight.nn.statistics import estimated

        return self.score(estimated(encoder, self.views[0]))

    def score(self, encoder: Encoder) -> float:
        """kNN accuracy; the encoder is left as it is."""
        import numpy as np

        from selfsight.embedding.embed import vectors_of
        from selfsight.evaluation.knn import predict

        bank, asked = (np.concatenate([vectors_of(encoder, part) for part in parts]) for parts in self.views)
        named = predict(bank, self.labels[0], asked, k=NEIGHBOURS, temperature=TEMPERATURE)
        return float((named == self.labels[1]).mean())


def ours(bench: Bench) -> Points:
    """Seconds and kNN of our training."""
    from selfsight.training import plan as planning
    from selfsight.training.build import engine, method_of, optimizer_of
    from selfsight.training.data import TrainingData
    from selfsight.training.loop import Trainer
    from selfsight.training.progress import Watcher
    from selfsight.training.request import Request
    from selfsight.training.session import WORKERS

    manifest = bench.manifest()
    yardstick, points = Yardstick(manifest, bench.size), []
    request = Request(
        data=[bench.table], method="simclr", encoder=bench.encoder, size=bench.size, batch=bench.batch, lr=bench.lr,
        length=bench.length, seed=bench.seed, threads=bench.threads, device="cpu", settings=bench.settings,
    )  # fmt: skip
    recipe, _ = planning.plan(request, manifest)
    moments = {round(recipe.steps * (moment + 1) / MOMENTS) for moment in range(MOMENTS)}

    class Clocked(Trainer):
        stood = 0.0  # seconds that the clock stood still

        def begin(self) -> None:
            super().begin()
            points.append((0.0, yardstick.untrained(self.method.product)))
            self.began = time.perf_counter()

        def after(self, step: int, signals: Any) -> None:
            super().after(step, signals)
            if step in moments:
                now = time.perf_counter()
                points.append((now - self.began - self.stood, yardstick.score(self.method.product)))
                self.stood += time.perf_counter() - now

    with tempfile.TemporaryDirectory(prefix="time_to_quality_") as scratch:
        method, folder = method_of(recipe), Path(scratch)
        data = TrainingData(recipe, manifest, method, folder, WORKERS)
        watcher = Watcher(recipe, quiet=True)
        Clocked(recipe, folder, engine(recipe), method, optimizer_of(recipe, method), data, watcher, 60.0).fit()
    return points


def theirs(bench: Bench) -> Points:
    """Seconds and kNN of lightly's recipe."""
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")
    import torch
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from lightly_simclr import SimCLR
    from torch.utils.data import DataLoader
    from torchvision.datasets.folder import default_loader

    from selfsight.nn.encoder import Encoder

    torch.set_num_threads(bench.threads)
    torch.manual_seed(bench.seed)
    manifest = bench.manifest()
    yardstick = Yardstick(manifest, bench.size)
    transform = SimCLRTransform(input_size=bench.size, cj_strength=0.5, gaussian_blur=0.0)  # both for CIFAR
    pictures = [(manifest.paths[row], transform) for row in manifest.train_rows()]
    batches = DataLoader(
        Seen(pictures, default_loader), BATCH, shuffle=True, drop_last=True, num_workers=bench.workers,
        persistent_workers=bench.workers > 0,
    )  # fmt: skip
    model, criterion = SimCLR(bench.encoder, bench.size), NTXentLoss(temperature=0.5)
    encoder = Encoder(bench.encoder, size=bench.size)  # with lightly's mean and deviation, which are ImageNet's too
    encoder.backbone = model.backbone
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(batches))
    points, spent = [(0.0, yardstick.untrained(encoder))], 0.0
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for first, second in batches:
            loss = criterion(model(first), model(second))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        spent += time.perf_counter() - started
        points.append((spent, yardstick.score(encoder)))
    return points


class Seen:
    """A dataset of two views of each picture."""

    def __init__(self, pictures: list[tuple[str, Any]], read: Any) -> None:
        self.pictures, self.read = pictures, read

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        path, transform = self.pictures[number]
        first, second = transform(self.read(path))[:2]
        return first, second


def reached(points: Points, wanted: float) -> float | None:
    """Seconds at which the straight lines between the points first come to `wanted`."""
    for (before, low), (after, high) in pairwise(points):
        if high >= wanted:
            return after if high <= low or low >= wanted else before + (after - before) * (wanted - low) / (high - low)
    return None


def table(results: dict[str, Any]) -> str:
    """When each variant is as far as lightly's recipe, task by task, as Markdown."""
    rows = results["rows"]
    lines = [
        "| task | ours | seeds | wanted kNN | lightly, s | ours, s | times sooner (least to most) | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        for variant in sorted({row["variant"] for row in rows if row["task"] == task and row["variant"] != "lightly"}):
            lines.append(line(task, variant, [row for row in rows if row["task"] == task]))
    return "\n".join(lines)


def line(task: str, variant: str, rows: list[dict[str, Any]]) -> str:
    """One line of the table, over the seeds that both sides have."""
    theirs, ours = (
        {row["seed"]: row["points"] for row in rows if row["variant"] == side} for side in ("lightly", variant)
    )
    wanted, seconds = [], []
    for seed in sorted(theirs.keys() & ours.keys()):
        start, best = theirs[seed][0][1], max(score for _, score in theirs[seed])
        wanted.append(start + WAY * (best - start))
        seconds.append([reached(points[seed], wanted[-1]) for points in (theirs, ours)])
    told = f"| {task} | {variant} | {len(seconds)} |"
    if not all(all(one) for one in seconds) or not seconds:
        return f"{told} {', '.join(f'{one:.3f}' for one in wanted)} | | not reached in so long | | no |"
    times = [slow / quick for slow, quick in seconds]
    spread = f"{median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
    slow, quick = (median(side) for side in zip(*seconds, strict=True))
    yes = "yes" if median(times) >= SOONER else "no"
    return f"{told} {median(wanted):.3f} | {slow:.0f} | {quick:.0f} | {spread} | {yes} |"


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=2, help="processes of lightly's loader")
    parser.add_argument("--variant", default="defaults", help="what our choices are called in the table")
    parser.add_argument("--for", dest="length", default="4epochs", help="how long ours trains")
    parser.add_argument("--batch", type=int, help="of ours")
    parser.add_argument("--lr", type=float, help="of ours")
    parser.add_argument("--set", dest="settings", nargs="+", default=[], metavar="NAME=VALUE", help="of ours")
    return machine.answered(parser, "data")


def bench_of(asked: argparse.Namespace, name: str, seed: int) -> Bench:
    """A task and a seed."""
    task = quality.TASKS[name]
    columns = {"label_column": task.label, "split_column": task.split, "group_column": task.group}
    settings = dict(one.split("=", 1) for one in asked.settings)
    return Bench(
        str(asked.data.absolute() / task.folder / "labels.csv"), columns, asked.encoder, asked.size, seed,
        asked.threads, asked.workers, asked.length, asked.batch, asked.lr, settings,
    )  # fmt: skip


def key_of(asked: argparse.Namespace, task: str, seed: int, side: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a row is found by in the table, and the options that it is made with."""
    own = ("workers",) if side == "lightly" else ("length", "batch", "lr", "settings")
    choices = {name: getattr(asked, name) for name in ("encoder", "size", "threads", *own)}
    return {"task": task, "seed": seed, "variant": side}, choices


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    rows = machine.before(asked.json)["rows"]
    if not asked.table and "fashion_mnist" in asked.tasks:
        quality.export_fashion(asked.data)
    sides = {"lightly": theirs, asked.variant: ours}
    wanted = [] if asked.table else product(asked.tasks, asked.seeds, sides)
    for name, seed, side in wanted:
        key, choices = key_of(asked, name, seed, side)
        if any((key | choices).items() <= row.items() for row in rows):
            continue
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            points = pool.submit(sides[side], bench_of(asked, name, seed)).result()
        kept = [(round(seconds, 2), round(score, 4)) for seconds, score in points]
        rows = [row for row in rows if not key.items() <= row.items()]
        rows.append({**key, **choices, "points": kept})
        machine.keep(asked.json, {"rows": rows})
    print(table({"rows": rows}))


if __name__ == "__main__":
    main()
