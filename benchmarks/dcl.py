"""Does the decoupled loss do better than NT-Xent in small batches, as published?

    python benchmarks/dcl.py --data DIR [--for 20epochs] [--batches 32 128] [--seeds 3] [--tasks ...]
    python benchmarks/dcl.py --table

`selfsight train --method simclr` with `criterion=nt-xent` and with `criterion=dcl`: all else equal, views, precision
and layout too, which the plan would measure for each run anew. The temperature is 0.1 for both, as in the code that
published kNN 78.3 and 84.6 % on CIFAR-10 at a batch of 32 and 83.09 and 85.63 % at 128
(raminnakhli/Decoupled-Contrastive-Learning, 100 epochs, ResNet-18). kNN is that of `selfsight evaluate` but of plain
vectors; the difference is paired by test picture, of the mean over the seeds, its interval of 95 %.

Runs are kept in DIR/runs: one that was stopped goes on, and a row that is in the result file is not made again. DIR is
that of quality.py.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

import beside_lightly
import machine
import quality

RESULTS = beside_lightly.RESULTS.with_name("dcl.json")
TASKS = ("fashion_mnist", "terrain")
CRITERIA = ("dcl", "nt-xent")
TEMPERATURE = 0.1  # of both, published
SHARED = ("task", "encoder", "size", "batch", "length", "precision")  # what the two sides of a line have in common


def row(asked: argparse.Namespace, key: dict[str, Any]) -> dict[str, Any]:
    """Train and score once."""
    import selfsight

    own = quality.TASKS[key["task"]]
    columns = {"label_column": own.label, "split_column": own.split, "group_column": own.group}
    run = selfsight.train(
        asked.data / own.folder / "labels.csv", method="simclr", encoder=asked.encoder, size=asked.size,
        settings={"criterion": key["criterion"], "temperature": TEMPERATURE}, views="simclr", batch=key["batch"],
        length=asked.length, precision=asked.precision, seed=key["seed"], threads=asked.threads, quiet=True, **columns,
        out=asked.data / "runs" / f"dcl-{'-'.join(map(str, key.values()))}",
    )  # fmt: skip
    kept = {name: getattr(run.recipe, name) for name in ("steps", "lr", "optimizer", "threads")}
    return {**kept, **beside_lightly.scored(run, run.encoder())}


def table(results: dict[str, Any]) -> str:
    """A line for each task, network, batch and length, and what was refused."""
    lines = []
    rows, refused = quality.parted(results["rows"], *SHARED, "criterion")
    for values in sorted({tuple(one[name] for name in SHARED) for one in rows}):
        shared = dict(zip(SHARED, values, strict=True))
        sides = beside_lightly.paired(rows, shared, "criterion", CRITERIA)
        if sides:
            gain, low, high = beside_lightly.difference(*sides)
            steps = f"{sides[0][0]['steps']:,} ({len(sides[0])})"
            spreads = map(beside_lightly.spread, sides)
            lines.append([*map(str, values), steps, *spreads, f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"])
    head = ["task", "encoder", "pixels", "batch", "for", "precision", "steps (seeds)"]
    head += ["kNN, DCL", "kNN, NT-Xent", "difference"]
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
    return f"{shown}\n\n{refused}" if refused else shown


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--for", dest="length", default="20epochs", help="length of each training")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["fashion_mnist"])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print the table."""
    asked = options()
    results = quality.begun(asked)
    shared = {name: getattr(asked, name) for name in ("encoder", "size", "length", "precision")}
    keys = (
        {"task": task, "batch": batch, "criterion": criterion, "seed": seed, **shared}
        for seed, task, batch, criterion in product(range(asked.seeds), asked.tasks, asked.batches, CRITERIA)
    )
    quality.filled(asked, results, keys, quality.attempted(lambda key: [row(asked, key)]))
    print(table(results))


if __name__ == "__main__":
    main()
