"""Our methods beside lightly's: the same encoder from the same weights, views, batches, optimizer, steps and seeds.

    python benchmarks/beside_lightly.py --data DIR [--images 60000] [--seeds 3] [--tasks ...] [--methods ...]
    python benchmarks/beside_lightly.py --table

Ours is `selfsight train` with settings that make it lightly's recipe; theirs is lightly's heads, loss and memory in a
plain loop (lightly_methods.py) over the very batches of our run. kNN is that of `selfsight evaluate` but of plain
vectors on both sides, since nobody else whitens; the difference is paired by test picture, of the mean over the seeds,
its interval of 95 %. Ours is to be not below theirs beyond it. images/s are of whole trainings at equal precision
(networks in that asked for, losses in float32): ours as the run noted them, theirs on our views, and for `--own-views`
steps on lightly's views, which draw the same by lightly's means.

Runs are kept in DIR/runs: one of ours that was stopped goes on (theirs begins again), and a row that is in the result
file is not made again. DIR is that of quality.py.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from statistics import mean
from typing import Any

import machine
import quality
import supcon

RESULTS = supcon.RESULTS.with_name("beside_lightly.json")
TASKS = ("fashion_mnist", "emoji_free")
OURS: dict[str, tuple[str, dict[str, Any]]] = {  # the settings that lightly_methods.py has
    "simclr": ("simclr", {"head": "lightly", "temperature": 0.5}),
    "dcl": ("simclr", {"head": "lightly", "criterion": "dcl", "temperature": 0.1}),
    "moco": ("moco", {"splits": 1}),
    "byol": ("byol", {"hidden": 1024, "width": 256}),
    "simsiam": ("simsiam", {"layers": 3, "hidden": 512, "width": 128, "predictor_hidden": 64, "constant_rate": False}),
    "barlow_twins": (
        "barlow_twins",
        {"layers": 3, "hidden": 2048, "width": 2048, "redundancy": 0.005, "steady_rate": 1.0},
    ),
    "vicreg": ("vicreg", {"hidden": 2048, "width": 2048}),
    "swav": ("swav", {"hidden": 512, "queue": 0, "local_views": 0, "freeze": 0.0}),
    "nnclr": ("nnclr", {"hidden": 512, "width": 128, "predictor_hidden": 512, "denominator": "ntxent"}),
    "dino": ("dino", {"norm": True, "prototypes": 2048, "teacher_momentum": 0.99, "local_views": 0, "freeze": 0.0}),
    "lejepa": ("lejepa", {"global_views": 2, "local_views": 0, "directions": 256}),
}
MEMORIES = ("support", "negatives")  # settings that say how much is remembered
SHARED = ("encoder", "size", "batch", "precision", "images")  # what the lines of one table have in common
Rows = list[dict[str, Any]]


def trained(asked: argparse.Namespace, key: dict[str, Any]) -> Any:
    """Our run."""
    import selfsight

    method, settings = OURS[key["method"]]
    own = quality.TASKS[key["task"]]
    columns = {"label_column": own.label, "split_column": own.split, "group_column": own.group}
    out = asked.data / "runs" / f"beside-{'-'.join(map(str, key.values()))}"
    return selfsight.train(
        asked.data / own.folder / "labels.csv", method=method, settings=settings, views="simclr", size=asked.size,
        encoder=asked.encoder, batch=asked.batch, length=f"{asked.images}images", precision=asked.precision,
        seed=key["seed"], threads=asked.threads, out=out, quiet=True, **columns,
    )  # fmt: skip


def rival(run: Any, name: str) -> tuple[Any, Any]:
    """lightly's method around the weights that our run started from."""
    import torch
    from lightly_methods import RIVALS

    from selfsight.training.build import method_of

    method = method_of(run.recipe)
    torch.manual_seed(run.recipe.seed + 1)
    lengths = [getattr(method, setting) for setting in MEMORIES if hasattr(method, setting)]
    return method, RIVALS[name](method.encoder, *lengths)


def theirs(run: Any, name: str) -> tuple[Any, float]:
    """The encoder that lightly's method makes of our batches, and its images/s."""
    import torch

    method, other = rival(run, name)
    other.network.train()

    def loss(batch: Any, progress: float) -> Any:
        other.before(progress)
        with torch.autocast("cpu", torch.bfloat16, enabled=run.recipe.precision == "bf16"):
            return other.loss(*batch["views"].unbind(dim=1))

    started = time.monotonic()
    supcon.learn(run, method, other.network, loss)
    speed = run.recipe.steps * run.recipe.batch / (time.monotonic() - started)
    return (other.product or method.encoder).eval(), speed


def own_views(asked: argparse.Namespace, task: str, run: Any, name: str) -> float:
    """lightly's images/s with lightly's data set and transform, whose views draw as ours do."""
    import torch
    from lightly.transforms import SimCLRTransform
    from lightly_simclr import autocast, endless, loader

    recipe = run.recipe
    torch.set_num_threads(recipe.threads)
    _, other = rival(run, name)
    transform = SimCLRTransform(input_size=recipe.side, cj_strength=0.5, gaussian_blur=0.0)
    folder = asked.data / quality.TASKS[task].folder
    batches = endless(loader(folder, size=recipe.side, batch=recipe.batch, workers=1, transform=transform))
    optimizer = torch.optim.SGD([p for p in other.network.parameters() if p.requires_grad], lr=1e-3)
    for step in range(asked.own_views + 2):
        if step == 2:  # after the first two, which warm up
            started = time.perf_counter()
        first, second = (views[:, : recipe.pixels["channels"]] for views in next(batches)[:2])  # grey comes as RGB
        other.before(0.0)
        with autocast(recipe.precision):
            loss = other.loss(first, second)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return asked.own_views * recipe.batch / (time.perf_counter() - started)


def rows(asked: argparse.Namespace, key: dict[str, Any]) -> Rows:
    """Both sides of one comparison. What fails soonest comes before lightly's training, which would begin again."""
    run, name = trained(asked, key), key["method"]
    clock = json.loads((run.folder / "timing.jsonl").read_text().splitlines()[-1])
    ours = {"images_per_second": run.recipe.steps * run.recipe.batch / clock["seconds"]}
    other = {"own_views": own_views(asked, key["task"], run, name)}
    encoder, other["images_per_second"] = theirs(run, name)
    kept = {key: getattr(run.recipe, key) for key in ("size", "batch", "steps", "lr", "precision", "threads")}
    sides = {"selfsight": (run.encoder(), ours), "lightly": (encoder, other)}
    return [{"side": side, **kept, **facts, **scored(run, made)} for side, (made, facts) in sides.items()]


def scored(run: Any, encoder: Any) -> dict[str, Any]:
    """Which test pictures kNN names rightly, by plain vectors."""
    from selfsight.evaluation import knn

    features, task = supcon.posed(run, encoder)
    test = features[task.test]
    found = knn.measure(features[task.train], task.train_labels, task.train_groups, test, task.test_labels)
    return supcon.noted(task, {"kNN": found.correct})


def difference(first: Rows, second: Rows) -> tuple[float, float, float]:
    """Mean kNN of the first less that of the second on the same seeds, and its interval."""
    import numpy as np

    from selfsight.evaluation import intervals

    own, other = (supcon.right(side, "kNN") for side in (first, second))
    low, high = intervals.of_difference(own, other, np.array(first[0]["groups"].split(), np.int64))
    return float((own - other).mean()), low, high


def paired(found: Rows, key: dict[str, Any], kind: str, values: tuple[str, str]) -> list[Rows]:
    """The rows of `key` with the two values of `kind`, of those seeds that both have; [] where there are none."""
    own = [one for one in found if key.items() <= one.items()]
    sides = [sorted((one for one in own if one[kind] == value), key=lambda one: one["seed"]) for value in values]
    seeds = {one["seed"] for one in sides[0]} & {one["seed"] for one in sides[1]}
    return [[one for one in side if one["seed"] in seeds] for side in sides] if seeds else []


def spread(side: Rows) -> str:
    """Mean kNN over seeds, the least and the most."""
    values = [one["accuracy"]["kNN"] for one in side]
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(results: dict[str, Any]) -> str:
    """A table for each kind of training with a line for each task and method, and whether ours is nowhere below."""
    parts, below = [], []
    rows, refused = quality.parted(results["rows"], "task", "method", *SHARED)
    for values in dict.fromkeys(tuple(one[name] for name in SHARED) for one in rows):
        lines, lost = compared(rows, dict(zip(SHARED, values, strict=True)))
        encoder, size, batch, precision, images = values
        what = f"{encoder}, {size} px, batches of {batch}, {images:,} pictures seen, {precision}"
        parts += [f"{what} (losses in float32 on both sides).", "\n".join(lines)]
        below += [f"{one} ({what})" for one in lost]
    said = [f"Below lightly beyond the interval: {', '.join(below) or 'none'}."]
    return "\n\n".join([*parts, *([refused] if refused else []), *said])


def compared(found: Rows, shared: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines of one table, and where ours is below."""
    lines, below = [], []
    for task, name in product(TASKS, OURS):
        sides = paired(found, {"task": task, "method": name, **shared}, "side", ("selfsight", "lightly"))
        if not sides:
            continue
        gain, low, high = difference(*sides)
        below += [f"{name} on {task}"] if high < 0 else []
        speed = [mean(one["images_per_second"] for one in side) for side in sides]
        cells = [task, f"`{name}`", *map(spread, sides), f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"]
        cells += [f"{one:.0f}" for one in (*speed, mean(one["own_views"] for one in sides[1]))]
        lines.append(cells)
    head = ["task", "method", "kNN, selfsight", "kNN, lightly", "difference", "images/s, selfsight"]
    head += ["images/s, lightly on our views", "images/s, lightly"]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)], below


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--images", type=int, default=60_000, help="pictures that each training consumes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, choices=(32, 64, 96), default=32, help="lightly's recipes are for these")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--own-views", type=int, default=20, help="steps with lightly's own views")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    asked = machine.answered(parser, "data")
    if asked.own_views < 1:
        parser.error("--own-views must be 1 or more")
    return asked


def main() -> None:
    """Make the rows that are missing, keep each pair at once, and print the table."""
    asked = options()
    results = quality.begun(asked)
    shared = {name: getattr(asked, name) for name in SHARED}
    keys = (
        {"task": task, "method": name, "seed": seed, **shared}
        for seed, task, name in product(range(asked.seeds), asked.tasks, asked.methods)
    )
    quality.filled(asked, results, keys, quality.attempted(lambda key: rows(asked, key)))
    print(table(results))


if __name__ == "__main__":
    main()
