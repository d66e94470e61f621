"""How does every method do on real pictures, with its own defaults, in the same time and from the same pictures?

    python benchmarks/cards.py --data DIR [--lengths 2m 10kimages] [--tasks ...] [--methods ...] [--seeds 0 1 2]
    python benchmarks/cards.py --table

A row is one `selfsight train` and one `selfsight evaluate`, each in a process of its own, whose peak memory is noted
with the images/s of training. `--lengths` are the budgets that the methods share: a time, which the plan turns into
steps by the measured speed, and a number of pictures seen. DIR is that of quality.py. Nothing else should run beside
it. A measurement that was stopped goes on: rows that are in the result file are not made again. The first row of a set
takes longer: what `evaluate` says of the baselines is kept in $SELFSIGHT_CACHE for the next.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import machine
import quality

RESULTS = Path(__file__).with_name("results") / "cards.json"
LENGTHS = ("2m", "10kimages")
TASKS = ("emoji_free", "fashion_mnist", "terrain")
BESIDE = ("untrained", "raw_pixels", "simple_statistics")
START = "pretrained"  # beside these where a run starts from given weights
KEPT = ("size", "batch", "steps", "precision", "lr", "optimizer", "encoder", "pictures")


class Refused(SystemExit):
    """A command of ours ended with exit code 2, or 3 (training itself); the end of the message is its sentence."""


def said(refusal: Refused) -> str:
    """The sentence that a command ended with."""
    return " ".join(str(refusal).rpartition("selfsight: ")[2].split())


def peak(command: Sequence[str]) -> int:
    """Run a command of ours and return its peak memory in bytes; what it said is shown when it fails."""
    child = subprocess.Popen(
        [sys.executable, "-m", "selfsight", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert child.stdout is not None
    with child.stdout as stream:
        said = stream.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # which nobody else can ask for now
    if child.returncode:
        ended = Refused if child.returncode in (2, 3) else SystemExit
        raise ended(f"{' '.join(command)} failed:\n{said[-2000:]}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def row(data: Path, task: str, method: str, length: str, seed: int, size: int | None) -> dict[str, Any]:
    """Train and evaluate once, or what was said against it."""
    table, folder = data / quality.TASKS[task].folder / "labels.csv", f"card-{task}-{method}-{length}-{seed}"
    more = ["--size", str(size)] if size else []
    try:
        return made(table, data / "runs" / folder, task, method, length, seed, more)
    except Refused as refusal:
        return {"refused": said(refusal)}


def made(
    table: Path, folder: Path, name: str, method: str, length: str, seed: int, more: Sequence[str]
) -> dict[str, Any]:
    """The row of one run on the pictures of `table`, with `more` asked of the command."""
    from selfsight.comparison import journals

    task = quality.TASKS[name]
    columns = ["--label-column", task.label, "--split-column", task.split, "--group-column", task.group]
    asked = ["--method", method, "--for", length, "--seed", str(seed), *more]
    memory, found, recipe, seconds = ran(table, folder, [*asked, *columns])
    return {
        "task": name,
        "method": method,
        "length": length,
        "seed": seed,
        "cores": machine.facts()["cores"],
        "recipe": {**{key: getattr(recipe, key) for key in KEPT}, **recipe.settings},
        "seconds": round(seconds, 1),
        "images_per_second": round(recipe.steps * recipe.batch / seconds, 1),
        "memory": memory,
        "curve": [(round(at, 1), quality) for at, quality in journals.curve(folder)],
        "verdict": found["verdict"],
        "scores": {"encoder": scores(found)}
        | {one: scores(found["baselines"][one]) for one in (*BESIDE, START) if one in found["baselines"]},
    }


def ran(table: Path, folder: Path, asked: Sequence[str]) -> tuple[int, dict[str, Any], Any, float]:
    """Train and evaluate, each in a process of its own: peak memory, evaluation, recipe, seconds of training."""
    from selfsight.recipe import Recipe

    memory = peak(["train", str(table), *asked, "--out", str(folder), "--quiet"])
    peak(["evaluate", str(folder)])
    found = json.loads((folder / "evaluation.json").read_text())
    clock = json.loads((folder / "timing.jsonl").read_text().splitlines()[-1])
    return memory, found, Recipe.from_yaml(folder / "recipe.yaml"), clock["seconds"]


def scores(found: dict[str, Any]) -> dict[str, Any]:
    """kNN, linear probe and the other view, each with its interval."""
    named = {"kNN": found["knn"], "linear": found["linear"]}
    kept = {name: {key: one[key] for key in ("accuracy", "interval")} for name, one in named.items()}
    view = found["label_free"]["two_views"]
    return kept | {"other view": {"accuracy": view["r_at_1"], "interval": view["interval"]}}


def groups(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Rows of one task, length and number of cores together, without what was refused."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for one in rows:
        if "refused" not in one:
            found.setdefault((one["task"], one["length"], one["cores"]), []).append(one)
    return found


def refusals(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was said against a method on a set, a line each; lengths and seeds are refused alike."""
    told = [f"* `{one['method']}`, {one['task']}: {one['refused']}" for one in rows if "refused" in one]
    return [*dict.fromkeys(told), ""] if told else []


def spread(values: Sequence[float]) -> str:
    """Mean over seeds, with the least and the most where they differ."""
    return f"{mean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if min(values) < max(values) else "")


def line(title: str, rows: Sequence[dict[str, Any]], kind: str = "encoder") -> str:
    """One line of a table."""
    cells = [spread([one["scores"][kind][measure]["accuracy"] for one in rows]) for measure in MEASURES]
    if kind != "encoder":
        return f"| {title} | {' | '.join(cells)} | | | | |"
    speed, memory = (mean(one[key] for one in rows) for key in ("images_per_second", "memory"))
    verdicts = [one["verdict"] for one in rows]
    both = verdicts, [one["linear"] for one in verdicts]
    told = [f"{sum(bool(one['helped']) for one in kind)} of {len(rows)}" for kind in both]
    return f"| {title} | {' | '.join(cells)} | {speed:.0f} | {memory / 1e9:.1f} | {' | '.join(told)} |"


MEASURES = ("kNN", "linear", "other view")
HEAD = [
    f"| | {' | '.join(MEASURES)} | images/s | peak memory, GB | helped, kNN | helped, linear |",
    "|---|" + "---|" * (len(MEASURES) + 4),
]


def block(task: str, length: str, cores: int, rows: Sequence[dict[str, Any]]) -> list[str]:
    """One task and length: every method, best kNN first, and what needed no training."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        by_method.setdefault(one["method"], []).append(one)
    order = sorted(
        by_method, key=lambda name: -mean(one["scores"]["encoder"]["kNN"]["accuracy"] for one in by_method[name])
    )
    lines = [line(f"`{name}`", by_method[name]) for name in order]
    lines += [line(f"untrained {name}", alike, "untrained") for name, alike in by_encoder(rows).items()]
    lines += [line(kind.replace("_", " "), rows[:1], kind) for kind in BESIDE[1:]]
    seeds = len({one["seed"] for one in rows})
    below = ", ".join(f"`{name}`" for name in order if not any(map(above, by_method[name])))
    lines += ["", f"Not above the untrained network with any seed, by kNN or linear probe: {below}."] if below else []
    plural = {"core": "s" * (cores > 1), "seed": "s" * (seeds > 1)}
    each = f"{length} of {cores} core{plural['core']} each, {seeds} seed{plural['seed']}"
    return [f"**{quality.TASKS[task].told}; {each}**", "", *HEAD, *lines, ""]


def above(one: dict[str, Any]) -> bool:
    """Whether a trained encoder is better than it was before, by either measure of what it knows of labels."""
    after, before = (one["scores"][kind] for kind in ("encoder", "untrained"))
    return any(after[measure]["accuracy"] > before[measure]["accuracy"] for measure in ("kNN", "linear"))


def by_encoder(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by the network they train: each untrained one is a baseline of its own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        found.setdefault(one["recipe"]["encoder"], []).append(one)
    return found


def table(results: dict[str, Any]) -> str:
    """All rows as Markdown."""
    lines = [text for key, rows in groups(results["rows"]).items() for text in block(*key, rows)]
    return "\n".join([*lines, *refusals(results["rows"])]).rstrip()


def card(results: dict[str, Any], method: str) -> str:
    """What is known of one method: a table for each task and length, beside the baselines of the same runs."""
    rows = [one for one in results["rows"] if one["method"] == method]
    lines = [text for key, alike in groups(rows).items() for text in block(*key, alike)]
    return "\n".join([*lines, *refusals(rows)]).rstrip()


def check(rows: Sequence[dict[str, Any]]) -> None:
    """What needs no training must be the same in all rows of a task; SystemExit names the first two that differ."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for one, kind in product([one for one in rows if "refused" not in one], BESIDE[1:]):
        other = first.setdefault((one["task"], kind), one)
        if any(one["scores"][kind][measure] != other["scores"][kind][measure] for measure in ("kNN", "linear")):
            told = ["{method} {length} seed {seed}".format(**row) for row in (other, one)]
            raise SystemExit(f"{one['task']}: {kind} differs between {' and '.join(told)}")


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--lengths", nargs="+", default=LENGTHS)
    parser.add_argument("--tasks", nargs="+", choices=quality.TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", help="default: every method that learns from pictures")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", type=int, help="side of the views; default: what the plan chooses")
    return machine.answered(parser, "data")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    results = quality.begun(asked)
    if not asked.table:
        from selfsight import methods

        chosen = asked.methods or [name for name in methods.names() if methods.get(name).kind == "pictures"]
        keys = (
            {"task": task, "method": method, "length": length, "seed": seed}
            for seed, length, task, method in product(asked.seeds, asked.lengths, asked.tasks, chosen)
        )
        quality.filled(asked, results, keys, lambda key: [row(asked.data, **key, size=asked.size)])
    check(results["rows"])
    print(table(results))


if __name__ == "__main__":
    main()
