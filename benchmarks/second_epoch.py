"""Is an epoch after the first as fast as the bare step, now that nothing is decoded any more?

    python benchmarks/second_epoch.py [--pictures 5000] [--size 64] [--batch 128] [--rounds 3] [--json FILE]

SimCLR with a ResNet-18 on JPEGs of 500 x 375 pixels, `selfsight train` as users run it, for two epochs with an empty
cache of decoded pictures. Images/s of each epoch come from the looks in the run's own timing.jsonl, from the first look
of each on, so that start-up is left out of both; looks are at so few pictures that they take the 1 % that they take of
a real run. In turns with it, forwards and backwards by round, the bare step of end_to_end.py by the same recipe; shown
are the median, least and most of each round's own ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine
import photographs
from end_to_end import Bench, alone, bare, plan, shown, spread, summary

RESULTS = Path(__file__).with_name("results") / "second_epoch.json"
WIDTH, HEIGHT = 500, 375
LOOKS = 3  # in each epoch
TARGET = 0.95  # of the bare step


def epochs(bench: Bench) -> tuple[float, float, int]:
    """Images/s of the first epoch and of the second, and the bytes that were kept."""
    recipe = bench.recipe
    with tempfile.TemporaryDirectory(dir=bench.scratch) as out:
        command = [sys.executable, "-m", "selfsight", "train", bench.folder, "--out", f"{out}/run", "--use-all"]
        command += ["--method", "simclr", "--encoder", "resnet18", "--device", "cpu", "--for", f"{bench.steps}steps"]
        command += ["--size", str(bench.size), "--batch", str(bench.batch), "--threads", str(recipe.threads)]
        command += ["--precision", recipe.precision, "--set", f"channels_last={str(recipe.channels_last).lower()}"]
        command += ["--lr", str(recipe.lr), "--set", "optimizer=sgd", "--set", f"monitor_points={2 * LOOKS}"]
        command += ["--set", f"monitor_pictures={shown(bench.steps, bench.batch, 2 * LOOKS)}"]
        cache = {"SELFSIGHT_CACHE": f"{out}/cache"}
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cache})
        looks = [json.loads(line) for line in Path(out, "run", "timing.jsonl").read_text().splitlines()]
        kept = sum(file.stat().st_blocks * 512 for file in Path(out, "cache").iterdir())
    seconds = {look["step"]: look["seconds"] for look in looks}
    half = bench.steps // 2
    share = half // LOOKS
    speeds = [
        (half - share) * bench.batch / (seconds[first + half] - seconds[first + share]) for first in (0, half)
    ]  # fmt: skip
    return speeds[0], speeds[1], kept


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    had, speeds = results["settings"], results["images_per_second"]
    kind = f"SimCLR, ResNet-18, {had['size']} px, batch {had['batch']}, {had['precision']}, {had['threads']} threads"
    what = f"{had['pictures']} JPEGs of {WIDTH} x {HEIGHT}; {had['kept'] / 1e9:.1f} GB kept; rounds: {had['rounds']}"
    lines = [
        f"{kind}; {what}.",
        "",
        "| side | images/s (least to most) | against the bare step | at least | reached |",
        "|---|---|---|---|---|",
    ]
    for name, row in speeds.items():
        rounds = zip(row["rounds"], speeds["bare step"]["rounds"], strict=True)
        ratio = summary([own / other for own, other in rounds], 3)
        judged = f"{TARGET} | {'yes' if ratio['median'] >= TARGET else 'no'}" if name == "second epoch" else " | "
        told = " | | |" if name == "bare step" else f" {spread(ratio, 2)} | {judged} |"
        lines.append(f"| {name} | {spread(row, 1)} |{told}")
    return "\n".join(lines)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """The figures of all rounds."""
    speeds: dict[str, list[float]] = {"first epoch": [], "second epoch": [], "bare step": []}
    with tempfile.TemporaryDirectory(prefix="second_epoch_") as scratch:
        folder = photographs.crops(
            Path(scratch, "pictures"), count=asked.pictures, side=HEIGHT, width=WIDTH, suffix=".jpg"
        )
        share = asked.pictures // asked.batch // LOOKS  # steps between two looks; an epoch in whole looks
        steps = 2 * LOOKS * share
        sizes = {"size": asked.size, "batch": asked.batch, "steps": steps, "short": share}
        fixed = {"precision": asked.precision, "threads": asked.threads, "save_every": "1h"}
        bench = Bench(folder=str(folder), scratch=scratch, encoder="resnet18", **sizes, **fixed)
        alone(plan, bench)
        for turn in range(asked.rounds):
            for ours in (True, False)[:: 1 if turn % 2 == 0 else -1]:
                if ours:
                    first, second, kept = epochs(bench)
                    speeds["first epoch"].append(first)
                    speeds["second epoch"].append(second)
                else:
                    speeds["bare step"].append(alone(bare, bench))
        recipe = bench.recipe
    settings = {name: getattr(asked, name) for name in ("pictures", "size", "batch", "rounds")}
    settings |= {"precision": recipe.precision, "threads": recipe.threads, "kept": kept}
    return {"settings": settings, "images_per_second": {name: summary(one, 2) for name, one in speeds.items()}}


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = machine.asks(__doc__, RESULTS)
    for name, default in (("pictures", 5000), ("size", 64), ("batch", 128), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one, measured")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    asked = machine.answered(parser)
    if asked.table:
        print(table(json.loads(asked.json.read_text())))
        return
    results = measure(asked)
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
