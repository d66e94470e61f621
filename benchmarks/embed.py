"""`embed` beside the bare forward pass: how much of it is left when pictures are found, read and their vectors kept.

    python benchmarks/embed.py [--sizes 64 224] [--rounds 3] [--threads 2] [--json FILE]

A ResNet-18, fp32, batches of 256, files of JPEG. All sides have the same precision, memory layout, batch and threads,
and take turns in one process; a ratio is of each round's own images/s.

* bare: the forward pass of the same encoder over as many pictures that are in memory, as views, by batches of 256
* embed: the whole of `selfsight.embed` on the run's own pictures, which training has listed and decoded: loading the
  encoder, looking whether files changed, views, forward pass, writing and syncing the vectors
* first: the same with an empty cache, as for pictures that nobody has seen before: also reading every file, its digest,
  and decoding it

Files for views of 64 pixels are of 64 x 64, those for 224 of 256 x 256.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
import photographs
import torch

import selfsight
from selfsight.embedding.embed import vectors_of
from selfsight.nn.encoder import Encoder

SIDES = {64: 64, 224: 256}  # of a file, by the size of a view
COUNTS = {64: 8192, 224: 1024}  # pictures: half a minute on two cores
BATCH = 256
LEAST = 0.95


def bare(encoder: Encoder, views: torch.Tensor, count: int) -> float:
    """Images/s of the forward pass alone."""
    started = time.perf_counter()
    for first in range(0, count, BATCH):
        vectors_of(encoder, views[: min(BATCH, count - first)])
    return count / (time.perf_counter() - started)


def ours(run: selfsight.Run, pictures: Path, out: Path, count: int, cache: Path) -> float:
    """Images/s of the whole of `embed`, with what is in `cache`."""
    os.environ["SELFSIGHT_CACHE"] = str(cache)
    started = time.perf_counter()
    run.embed(pictures, out=out, batch=BATCH)
    return count / (time.perf_counter() - started)


def measure(size: int, count: int, rounds: int) -> dict[str, Any]:
    """Figures for one size. A first turn of each side warms up and does not count."""
    with tempfile.TemporaryDirectory() as home:
        kept, out = Path(home) / "cache", Path(home) / "out"
        os.environ["SELFSIGHT_CACHE"] = str(kept)
        pictures = photographs.crops(Path(home) / "pictures", count=count, side=SIDES.get(size, size), suffix=".jpg")
        options = {"encoder": "resnet18", "size": size, "batch": 8, "length": "1steps", "precision": "fp32"}
        options["threads"] = torch.get_num_threads()
        run = selfsight.train(pictures, method="simclr", out=Path(home) / "run", quiet=True, **options)
        encoder = run.encoder()
        views = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8)
        speeds: dict[str, list[float]] = {"embed": [], "first": [], "bare": []}
        for number in range(rounds + 1):
            found = {
                "embed": ours(run, pictures, out, count, kept),
                "bare": bare(encoder, views, count),
                "first": ours(run, pictures, out, count, Path(home) / f"empty-{number}"),
            }
            for name, speed in found.items() if number else ():
                speeds[name].append(round(speed, 1))
    return {"pictures": count, "images_per_second": speeds}


def ratio(speeds: dict[str, list[float]], side: str) -> list[float]:
    """A side against the bare pass, round by round."""
    return [one / other for one, other in zip(speeds[side], speeds["bare"], strict=True)]


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"ResNet-18, fp32, {results['threads']} threads.\n",
        "| view | side | images/s | against the bare pass (least to most) | at least | reached |",
        "|---|---|---|---|---|---|",
    ]
    for size, row in results["sizes"].items():
        speeds = row["images_per_second"]
        for side in (side for side in ("embed", "first", "bare") if side in speeds):
            told = ratio(speeds, side)
            shown = f"{median(told):.2f} ({min(told):.2f} to {max(told):.2f})" if side != "bare" else ""
            judged = f"{LEAST} | {'yes' if median(told) >= LEAST else 'no'}" if side == "embed" else " | "
            lines.append(f"| {size} px | {side} | {median(speeds[side]):.0f} | {shown} | {judged} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--pictures", type=int, help="how many, in place of 8192 of 64 px and 1024 of 224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = {str(size): measure(size, asked.pictures or COUNTS.get(size, 1024), asked.rounds) for size in asked.sizes}
    results = {"threads": asked.threads, "sizes": found}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
