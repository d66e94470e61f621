"""What do ten minutes of SimCLR and MoCo give on real pictures, and does training help?

    python benchmarks/quality.py --data DIR [--for 10m] [--tasks ...] [--methods ...] [--json FILE]
    python benchmarks/quality.py --table

Every pair of a task and a method is one run with the method's own defaults: `selfsight train` on the training part,
then `selfsight evaluate` on the test part, which training never reads. A row of the result has kNN, linear probe and 1,
5 and 10 labels per class with 95 % intervals, for the encoder, the same network untrained, raw pixels and simple
statistics, and the verdict. Among emoji the test pictures are also retrieved across vendors: R@1 is how often the
nearest picture of the other vendor shows the same emoji. `--for` is the budget of training, which the plan turns into
steps by the measured speed of the bare step.

DIR holds `terrain`, `emoji_free`, `elpv` (each with labels.csv) and `fashion_mnist/fashion_mnist.npz`, of which the
first 10,000 training and 2,000 test pictures are written out as PNG. Runs are kept in DIR/runs: one that was stopped
goes on, and a row that is in the result file with the same length and seed is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "quality.json"
METHODS = ("simclr", "moco")
ROWS = ("encoder", "untrained", "raw_pixels", "simple_statistics")
SHOTS = ("1", "5", "10")
FASHION = {"train": 10_000, "test": 2_000}  # pictures of each part
MEASURES = ("kNN", "linear", *(f"{shots} label{'s' * (shots != '1')}" for shots in SHOTS), "R@1")


@dataclass(frozen=True)
class Task:
    """One set of pictures with one question."""

    folder: str
    label: str
    split: str
    group: str  # what must not straddle the split; for crops of known textures each picture is its own
    told: str
    identity: str | None = None  # column to retrieve by, between the parts that `between` tells apart
    between: str | None = None


TASKS = {
    "terrain": Task("terrain", "label", "split", "group", "terrain: 12 surfaces, unseen textures"),
    "terrain_textures": Task("terrain", "texture", "split_texture", "path", "terrain: which of 559 textures is it of?"),
    "emoji_free": Task(
        "emoji_free", "label", "split", "group", "emoji: 9 categories, unseen emoji", "identity", "vendor"
    ),
    "elpv": Task("elpv", "defective", "split", "path", "elpv: is this solar cell defective?"),
    "fashion_mnist": Task("fashion_mnist_10k", "label", "split", "path", "Fashion-MNIST: 10 garments, 10,000 pictures"),
}


def export_fashion(data: Path) -> None:
    """Write the first pictures of both parts as PNG files with a labels.csv, once."""
    import numpy as np
    from PIL import Image

    folder = data / "fashion_mnist_10k"
    if (folder / "labels.csv").exists():
        return
    arrays = np.load(data / "fashion_mnist" / "fashion_mnist.npz")
    names = json.loads((data / "fashion_mnist" / "meta.json").read_text())["class_names"]
    rows = []
    for part, count in FASHION.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(arrays[f"x_{part}"][:count]):
            path = f"{part}/{number:05d}.png"
            Image.fromarray(picture).save(folder / path)
            rows.append((path, names[int(arrays[f"y_{part}"][number])], part))
    partial = folder / "labels.csv.tmp"
    with open(partial, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    partial.replace(folder / "labels.csv")


def row(data: Path, name: str, method: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Train, evaluate, and keep what the table shows."""
    import selfsight

    task = TASKS[name]
    columns = {"label_column": task.label, "split_column": task.split, "group_column": task.group}
    run = selfsight.train(
        data / task.folder / "labels.csv", method=method, length=asked.length, seed=asked.seed, threads=asked.threads,
        out=data / "runs" / f"{name}-{method}-{asked.length}-{asked.seed}", **columns,
    )  # fmt: skip
    found = run.evaluate(identity_column=task.identity, across_column=task.between)
    clock = json.loads((run.folder / "timing.jsonl").read_text().splitlines()[-1])
    recipe = run.recipe
    kept = ("size", "batch", "steps", "precision", "threads", "lr", "optimizer")
    return {
        "task": name,
        "method": method,
        "length": asked.length,
        "seed": asked.seed,
        "recipe": {**{key: getattr(recipe, key) for key in kept}, **recipe.settings},
        "minutes": round(clock["seconds"] / 60, 2),
        "sizes": found["task"],
        "notes": found["notes"],
        "verdict": found["verdict"],
        "scores": {one: scores(found if one == "encoder" else found["baselines"][one]) for one in ROWS},
        **({"retrieval": retrieval(found)} if task.identity else {}),
    }


def scores(found: dict[str, Any]) -> dict[str, Any]:
    """One row's accuracies and intervals."""
    few = {f"{shots} label{'s' * (shots != '1')}": found["few"][shots] for shots in SHOTS}
    named = {"kNN": found["knn"], "linear": found["linear"], **few}
    return {name: {key: value[key] for key in ("accuracy", "interval")} for name, value in named.items()}


def retrieval(found: dict[str, Any]) -> dict[str, Any]:
    """R@1 of what was sought, for every row, and the paired difference to the best of the others."""
    rows = {one: (found if one == "encoder" else found["baselines"][one])["retrieval"]["r_at_1"] for one in ROWS}
    table = {name: {"accuracy": one["value"], "interval": one["interval"]} for name, one in rows.items()}
    verdict = found["verdict"]["identity"]
    told = {"against": verdict["against"], "difference": verdict["interval"], "helped": verdict["helped"]}
    return {"scores": table, **told}


def cell(score: dict[str, Any] | None) -> str:
    """An accuracy with its interval."""
    if score is None:
        return ""
    return f"{score['accuracy']:.3f} ({score['interval'][0]:.3f} to {score['interval'][1]:.3f})"


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown, one table for each task, baselines beside the methods."""
    lines: list[str] = []
    lengths = dict.fromkeys(one["length"] for one in results["rows"])
    for (name, task), length in product(TASKS.items(), lengths):
        rows = [one for one in results["rows"] if (one["task"], one["length"]) == (name, length)]
        if rows:
            lines += [f"**{task.told}{f'; {length}' if len(lengths) > 1 else ''}**", "", *task_table(rows), ""]
            lines += [f"* {told(one)}" for one in rows] + [""]
    return "\n".join(lines).rstrip()


def task_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each method and each baseline; a baseline that is not the same for all methods has a line for each."""
    sizes, seeds = rows[0]["sizes"], len({one["seed"] for one in rows}) > 1
    measures = MEASURES if "retrieval" in rows[0] else MEASURES[:-1]
    counts = f"{sizes['train']:,} training and {sizes['test']:,} test pictures"
    lines = [
        f"{counts}; always naming the commonest class gives {sizes['majority']:.3f}.",
        "",
        f"| | {' | '.join(measures)} |",
        "|---|" + "---|" * len(measures),
    ]
    for kind in ROWS:
        shown: dict[str, str] = {}
        for one in rows:
            scores = {**one["scores"][kind], "R@1": one.get("retrieval", {}).get("scores", {}).get(kind)}
            cells = " | ".join(cell(scores[measure]) for measure in measures)
            word, run = kind.replace("_", " "), f"`{one['method']}`" + (f", seed {one['seed']}" if seeds else "")
            shown.setdefault(cells, run if kind == "encoder" else f"{word} ({run.replace('`', '')})" if shown else word)
        lines += [f"| {title} | {cells} |" for cells, title in shown.items()]
    return lines


def told(one: dict[str, Any]) -> str:
    """What is to be said of a run."""
    recipe = one["recipe"]
    did = f"{recipe['size']} px, batch {recipe['batch']}, {recipe['steps']:,} steps in {one['minutes']:.1f} minutes"
    text = f"`{one['method']}` ({did}): {one['verdict']['sentence']}"
    if "retrieval" in one:
        found = one["retrieval"]
        low, high = found["difference"]
        against = found["against"].replace("_", " ")
        helped = "helped" if found["helped"] else "is not shown to help"
        text += f" At retrieval training {helped}: 95 % interval {low:+.3f} to {high:+.3f} against {against}."
    return text


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--for", dest="length", default="10m", help="length of each training")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data")


def begun(asked: argparse.Namespace) -> dict[str, Any]:
    """What was measured before; and before more is, `asked.data` is absolute and its garments are pictures."""
    if not asked.table:
        asked.data = asked.data.absolute()
        if "fashion_mnist" in asked.tasks:
            export_fashion(asked.data)
    return machine.before(asked.json)


def filled(
    asked: argparse.Namespace,
    results: dict[str, Any],
    keys: Iterable[dict[str, Any]],
    make: Callable[[dict[str, Any]], list[dict[str, Any]]],
    part: str = "rows",
) -> None:
    """Make what is missing in a part of the results, each key's rows, and keep it at once; with --table nothing.

    What was refused is asked again: it takes seconds, and the cause may be gone, such as a full disk.
    """
    for key in () if asked.table else keys:
        if not any(key.items() <= one.items() and "refused" not in one for one in results[part]):
            print(*key.values(), file=sys.stderr, flush=True)
            made = [key | one for one in make(key)]
            results[part] = [one for one in results[part] if not key.items() <= one.items()] + made
            machine.keep(asked.json, results)


def attempted(make: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """`make`, of which a refusal costs its own row: what was said against it is kept instead."""
    from selfsight.errors import Interrupted, SelfsightError

    def made(key: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            return make(key)
        except Interrupted:
            raise
        except SelfsightError as error:
            return [{"refused": " ".join(str(error).split())}]

    return made


def parted(rows: Iterable[dict[str, Any]], *named: str) -> tuple[list[dict[str, Any]], str]:
    """The rows that were made, and a line for each refusal, with what it is `named` by; seeds are refused alike."""
    kept, told = list[dict[str, Any]](), list[str]()
    for one in rows:
        if "refused" in one:
            told.append(f"* {', '.join(str(one[name]) for name in named)}: {one['refused']}")
        else:
            kept.append(one)
    return kept, "\n".join(dict.fromkeys(told))


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    results = begun(asked)
    keys = (
        {"task": name, "method": method, "length": asked.length, "seed": asked.seed}
        for name, method in product(asked.tasks, asked.methods)
    )
    filled(asked, results, keys, lambda key: [row(asked.data, key["task"], key["method"], asked)])
    print(table(results))


if __name__ == "__main__":
    main()
