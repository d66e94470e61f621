"""Which of four methods suits textures, and which emoji? One `selfsight compare` of three minutes each.

    python benchmarks/compare.py --data DIR [--for 3m] [--seeds 1] [--methods ...] [--tasks ...] [--json FILE]
    python benchmarks/compare.py --table

Each set is one command as people give it, with the method's own recipes, and its table is that of the terminal: all
rows, the verdict, whether training without labels pays, and the notes. About a quarter of an hour for each set. DIR is
that of quality.py; the comparisons, with their pages, are in DIR/runs: one that was stopped goes on, and one that is in
the result file is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import machine
import quality

RESULTS = Path(__file__).with_name("results") / "compare.json"
METHODS = ("simclr", "vdvs", "rotation", "deepcluster")
QUESTIONS = {"knn": "kNN", "linear": "linear probe"}


def row(asked: argparse.Namespace, key: dict[str, Any]) -> dict[str, Any]:
    """One comparison, and what the table shows of it."""
    import selfsight

    task = quality.TASKS[key["task"]]
    found = selfsight.compare(
        asked.data / task.folder / "labels.csv", methods=key["methods"], length=key["length"], seeds=key["seeds"],
        label_column=task.label, split_column=task.split, group_column=task.group, threads=asked.threads,
        out=asked.data / "runs" / f"compare-{key['task']}-{key['length']}",
    )  # fmt: skip
    kept = {name: found[name] for name in ("rows", "failed", "notes")}
    said = [found["verdict"]["sentence"], (found["efficiency"] or {}).get("sentence")]
    return {**kept, "said": [sentence for sentence in said if sentence]}


def table(results: dict[str, Any]) -> str:
    """Each comparison: its rows with intervals, and what is said of them."""
    return "\n\n".join("\n".join(lines(one)) for one in results["rows"])


def lines(one: dict[str, Any]) -> list[str]:
    """One comparison as Markdown."""
    told = [f"**{quality.TASKS[one['task']].told}**; {one['length']} for each method, seeds: {one['seeds']}.", ""]
    told += [f"| | {' | '.join(QUESTIONS.values())} | seconds | pictures seen |", "|---|---|---|---|---|"]
    for line in one["rows"]:
        cells = [quality.cell(line[name]) if name in line else "" for name in QUESTIONS]
        cells += [f"{line[name]:,.0f}" if name in line else "" for name in ("seconds", "pictures_seen")]
        told.append(f"| {line['name'].replace('_', ' ')} | {' | '.join(cells)} |")
    said = [*one["said"], *(f"{name} has no result: {why}" for name, why in one["failed"].items()), *one["notes"]]
    return [*told, "", *(f"* {sentence}" for sentence in said)]


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--for", dest="length", default="3m", help="length of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--tasks", nargs="+", choices=quality.TASKS, default=["terrain", "emoji_free"])
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data")


def main() -> None:
    """Make the comparisons that are missing, keep each at once, and print all."""
    asked = options()
    results = quality.begun(asked)
    shared = {"methods": ",".join(asked.methods), "length": asked.length, "seeds": asked.seeds}
    keys = ({"task": task, **shared} for task in asked.tasks)
    quality.filled(asked, results, keys, lambda key: [row(asked, key)])
    print(table(results))


if __name__ == "__main__":
    main()
