"""Does SupCon make more of labels than cross-entropy does, and what do more views and fewer labels give?

    python benchmarks/supcon.py --data DIR [--images 30000] [--seeds 3] [--parts ...] [--tasks ...] [--json FILE]
    python benchmarks/supcon.py --table

* goal: SupCon, then the linear probe of `selfsight evaluate`, against cross-entropy from scratch: the same encoder from
  the same weights, the same batches of the same two views, optimizer and schedule. Cross-entropy counts with its own
  classifier or with a probe of its features, whichever is better. To be beaten by one point on one of the tasks.
* views: 3 and 4 views against 2, of the same number of pictures, so that more views are more work.
* labels: 1 and 10 % of the labels, all pictures or the labelled ones alone, and cross-entropy on these. Probes learn
  from labelled pictures only. 100 % is the goal's.

Every training consumes `--images` pictures. Intervals are of 95 %, of the mean over the seeds, paired by test picture.
The defaults take about 40 minutes on two cores; hence a ResNet-10, and one seed where it is not the goal. DIR is that
of quality.py. Runs are kept in DIR/runs: one that was stopped goes on (cross-entropy begins again), and a row that is
in the result file is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import machine
import quality

RESULTS = Path(__file__).with_name("results") / "supcon.json"
GOAL = 0.01  # of accuracy: one point


@dataclass(frozen=True)
class Arm:
    """One way to train. `percent` of the training pictures keep their label; `alone`: the others are not there."""

    kind: str = "SupCon"
    views: int = 2
    percent: int = 100
    alone: bool = False

    def __str__(self) -> str:
        views = f", {self.views} views" if self.views > 2 else ""
        labels = f", {self.percent} % of the labels" if self.percent < 100 else ""
        return f"{self.kind}{views}{labels}{', those pictures alone' if self.alone else ''}"

    def run(self, task: str, seed: int) -> str:
        """What the SupCon run of these pictures and views is called."""
        return f"supcon-{task}-{self.views}views-{self.percent}percent{'-alone' * self.alone}-{seed}"


ENTROPY = "cross-entropy"
FEW = [(Arm(percent=percent), Arm(percent=percent, alone=True)) for percent in (1, 10)]
PARTS: dict[str, tuple[tuple[str, ...], list[tuple[Arm, Arm]]]] = {  # tasks, and what is compared with what
    "goal": (("emoji_free", "fashion_mnist"), [(Arm(), Arm(ENTROPY))]),
    "views": (("emoji_free",), [(Arm(views=views), Arm()) for views in (3, 4)]),
    "labels": (("fashion_mnist",), [*FEW, *[(arm, replace(arm, kind=ENTROPY)) for _, arm in FEW]]),
}
TASKS = PARTS["goal"][0]
Rows = list[dict[str, Any]]


@cache
def pictures(data: Path, name: str) -> Any:
    """The task's manifest, without test pictures that are copies of training pictures."""
    from selfsight.data.manifest import scan
    from selfsight.data.source import find
    from selfsight.evaluation.unseen import unseen

    task = quality.TASKS[name]
    columns = {"label_column": task.label, "group_column": task.group, "split_column": task.split}
    every = scan(find(data / task.folder / "labels.csv", **columns))
    return unseen(every, every)[0]


def table_of(data: Path, name: str, arm: Arm, seed: int) -> tuple[Path, int]:
    """A table of the pictures and labels that the arm may know, all classes alike, and how many it trains on."""
    import numpy as np

    manifest, generator = pictures(data, name), np.random.default_rng(seed)
    order = generator.permutation(manifest.train_rows())
    kept = set(manifest.every_row()[manifest.test])
    for label in range(len(manifest.classes)):
        own = order[manifest.labels[order] == label]
        kept |= set(own[: max(1, round(len(own) * arm.percent / 100))])
    rows = []
    for place in manifest.every_row():
        if place in kept or not arm.alone:
            label = manifest.classes[manifest.labels[place]] if place in kept else ""
            part = "test" if manifest.test[place] else "train"
            rows.append((manifest.paths[place], label, manifest.groups[place], part))
    file = data / "runs" / f"{arm.run(name, seed)}.csv"
    file.parent.mkdir(exist_ok=True)
    with open(file, "w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "group", "split"), *rows])
    return file, sum(split == "train" for *_, split in rows)


def trained(asked: argparse.Namespace, name: str, arm: Arm, seed: int) -> Any:
    """The arm's SupCon run, which is also what says how cross-entropy trains."""
    import selfsight

    table, count = table_of(asked.data, name, arm, seed)
    batch = min(asked.batch, 2 ** (count.bit_length() - 1))
    out = f"{arm.run(name, seed)}-{asked.encoder}-{asked.images}"
    return selfsight.train(
        table, method="supcon", encoder=asked.encoder, size=asked.size, batch=batch, length=f"{asked.images}images",
        seed=seed, threads=asked.threads, settings={"num_views": arm.views}, out=asked.data / "runs" / out, quiet=True,
    )  # fmt: skip


def cross_entropy(run: Any) -> tuple[Any, Any]:
    """Encoder and linear classifier, trained from scratch on the very batches that the run learned from."""
    import torch
    from torch.nn.functional import cross_entropy as loss_of

    from selfsight.data.manifest import Manifest
    from selfsight.training.build import method_of

    recipe, manifest = run.recipe, Manifest.load(run.folder / "manifest.parquet")
    method = method_of(recipe)
    torch.manual_seed(recipe.seed)
    model = torch.nn.Sequential(method.encoder, torch.nn.Linear(method.encoder.width, len(manifest.classes))).train()

    def loss(batch: Any, progress: float) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = model(batch["views"].flatten(0, 1))
        return loss_of(logits.float(), batch["label"].repeat_interleave(batch["views"].shape[1]))

    learn(run, method, model, loss)
    return model[0].eval(), model[1].eval()


def learn(run: Any, method: Any, model: Any, loss: Callable[[Any, float], Any]) -> None:
    """Train `model` by a loss of batch and progress on the batches of the run of `method`, with its optimizer.

    A gradient is not limited here, and all parameters have one rate.
    """
    import torch

    from selfsight.data.loader import Loader
    from selfsight.data.manifest import Manifest
    from selfsight.data.order import permuted
    from selfsight.data.pictures import pictures_of
    from selfsight.methods.base import OPTIMIZATION, Group, Training
    from selfsight.training import optimizers, schedule, session

    recipe, manifest = run.recipe, Manifest.load(run.folder / "manifest.parquet")
    torch.set_num_threads(recipe.threads)
    if recipe.clip is not None:
        raise SystemExit(f"the run of {recipe.method} limits its gradient, which is not done here")
    training = Training(**{name: getattr(recipe, name) for name in OPTIMIZATION})
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizers.build([Group(parameters)], training, recipe.lr)
    rows = manifest.train_rows()
    known, labels = pictures_of(recipe, manifest), torch.from_numpy(manifest.labels[rows])
    loader = Loader(known, rows, labels, method.views(recipe.side), seed=recipe.seed, workers=session.WORKERS)
    epochs, length = -(-recipe.steps // recipe.epoch_steps), recipe.epoch_steps * recipe.batch
    order = torch.cat([permuted(len(rows), recipe.seed, epoch)[:length] for epoch in range(epochs)])
    for step, batch in enumerate(loader.batches(order[: recipe.steps * recipe.batch], 0, recipe.batch)):
        progress = step / recipe.steps
        optimizers.set_rate(optimizer, recipe.lr * schedule.rate(progress, recipe.warmup), progress)
        optimizer.zero_grad()
        loss(batch, progress).backward()
        optimizer.step()
    loader.close()


def scored(run: Any, encoder: Any, classifier: Any = None) -> dict[str, Any]:
    """Which test pictures the linear probe of `selfsight evaluate` names rightly, and which the classifier does."""
    import torch

    from selfsight.evaluation import linear

    features, task = posed(run, encoder)
    test = features[task.test]
    found = linear.measure(features[task.train], task.train_labels, task.train_groups, test, task.test_labels)
    right = {"probe": found.correct}
    if classifier is not None:
        with torch.no_grad():
            right["classifier"] = classifier(torch.from_numpy(test)).argmax(dim=1).numpy() == task.test_labels
    return noted(task, right)


def posed(run: Any, encoder: Any) -> tuple[Any, Any]:
    """Vectors of the run's pictures without test pictures that it learned from, and what is asked of them."""
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import pictures_of
    from selfsight.embedding.embed import embed
    from selfsight.evaluation.task import pose
    from selfsight.evaluation.unseen import unseen

    recipe, every = run.recipe, Manifest.load(run.folder / "manifest.parquet")
    manifest = unseen(every, every)[0]
    pictures = pictures_of(recipe, manifest)
    features, rows = embed(encoder, pictures, manifest.every_row(), size=recipe.size, plain=True)
    return features, pose(manifest.labels[rows], manifest.groups[rows], manifest.test[rows], manifest.classes)


def noted(task: Any, right: dict[str, Any]) -> dict[str, Any]:
    """Which test pictures were named rightly, in few letters."""
    import numpy as np

    return {
        "labelled": len(task.train),
        "test": len(task.test),
        "accuracy": {name: round(float(hits.mean()), 4) for name, hits in right.items()},
        "right": {name: np.packbits(hits).tobytes().hex() for name, hits in right.items()},
        "groups": " ".join(map(str, task.test_groups)),
    }


def row(asked: argparse.Namespace, key: dict[str, Any]) -> dict[str, Any]:
    """Train, score, and keep what the tables show."""
    arm = Arm(**{name: key[name] for name in asdict(Arm())})
    run = trained(asked, key["task"], arm, key["seed"])
    recipe, started = run.recipe, time.monotonic()
    encoder, classifier = (run.encoder(), None) if arm.kind != ENTROPY else cross_entropy(run)
    clock = json.loads((run.folder / "timing.jsonl").read_text().splitlines()[-1])
    seconds = clock["seconds"] if classifier is None else time.monotonic() - started
    kept = {key: getattr(recipe, key) for key in ("size", "batch", "steps", "lr", "precision", "threads", "pictures")}
    return {**kept, "minutes": round(seconds / 60, 2), **scored(run, encoder, classifier)}


def wanted(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """What is to be made: a key for each row, no two the same."""
    keys = [
        {"task": task, **asdict(arm), "seed": seed, "encoder": asked.encoder, "images": asked.images}
        for part in asked.parts
        for seed in range(asked.seeds if part == "goal" else asked.more_seeds)
        for task in PARTS[part][0]
        if task in asked.tasks
        for pair in PARTS[part][1]
        for arm in pair
    ]
    return list({json.dumps(key): key for key in keys}.values())


def right(rows: Rows, kind: str) -> Any:
    """The share of the seeds in which each test picture was named rightly."""
    import numpy as np

    hits = [np.frombuffer(bytes.fromhex(one["right"][kind]), np.uint8) for one in rows]
    return np.mean([np.unpackbits(one, count=rows[0]["test"]) for one in hits], axis=0)


def compared(name: str, arms: tuple[Arm, Arm], first: Rows, second: Rows) -> tuple[float, list[str]]:
    """First minus second, this at its better reading, on the same seeds; and the line of the table."""
    import numpy as np

    from selfsight.evaluation import intervals

    kind = max(second[0]["right"], key=lambda kind: right(second, kind).mean())
    own, other = right(first, "probe"), right(second, kind)
    low, high = intervals.of_difference(own, other, np.array(first[0]["groups"].split(), np.int64))
    gain = float((own - other).mean())
    against = f"{arms[1]}{', probe of its features' if (arms[1].kind, kind) == (ENTROPY, 'probe') else ''}"
    cells = [name, str(arms[0]), told(first, "probe"), against, told(second, kind)]
    return gain, [*cells, f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"]


def told(rows: Rows, kind: str) -> str:
    """Mean accuracy over the seeds, the least and the most, and the minutes of a training."""
    values = [one["accuracy"][kind] for one in rows]
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    minutes = sum(one["minutes"] for one in rows) / len(rows)
    return f"{sum(values) / len(values):.3f}{spread}; {minutes:.1f}"


def table(results: dict[str, Any]) -> str:
    """What was compared, line by line, and whether the goal was reached."""
    rows, lines, gains = results["rows"], [], [0.0]
    for part, (tasks, pairs) in PARTS.items():
        for name, arms in ((name, arms) for name in tasks for arms in pairs):
            both = [[one for one in rows if {"task": name, **asdict(arm)}.items() <= one.items()] for arm in arms]
            seeds = set.intersection(*({one["seed"] for one in ones} for ones in both))
            if seeds:
                gain, cells = compared(name, arms, *([one for one in ones if one["seed"] in seeds] for ones in both))
                lines.append(cells)
                gains += [gain] if part == "goal" else []
    head = ["task", "trained by", "accuracy; minutes", "against", "accuracy; minutes", "difference"]
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
    seen = sorted({(one["encoder"], one["size"], one["images"]) for one in rows})
    what = "; ".join(f"{encoder}, {size} px, {images:,} pictures in each training" for encoder, size, images in seen)
    reached = "reached" if max(gains) >= GOAL else "not reached"
    return f"{what}.\n\n{shown}\n\nOne point more than cross-entropy on one of the tasks: {reached}."


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--images", type=int, default=30_000, help="pictures that each training consumes")
    parser.add_argument("--seeds", type=int, default=3, help="of the goal")
    parser.add_argument("--more-seeds", type=int, default=1, help="of the other parts")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--encoder", default="resnet10t")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128, help="at most; fewer where there are fewer pictures")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print the tables."""
    asked = options()
    results = quality.begun(asked)
    quality.filled(asked, results, wanted(asked), lambda key: [row(asked, key)])
    print(table(results))


if __name__ == "__main__":
    main()
