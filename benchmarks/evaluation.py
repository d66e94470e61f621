"""How long does an evaluation of 10,000 training and 10,000 test pictures take, and how much memory?

    python benchmarks/evaluation.py --data DIR [--threads 2] [--json FILE]
    python benchmarks/evaluation.py --table

Fashion-MNIST at 32 pixels, ResNet-18, in a process of its own for each line: the encoder's row alone (embedding,
nearest neighbours, linear probe, few labels, retrieval, clustering, without labels), and the whole of `selfsight
evaluate` with every baseline, leaks, neighbours and report. The encoder had one step: what it learned changes no time.
DIR holds `fashion_mnist/fashion_mnist.npz`; pictures and run are kept in DIR/runs/evaluation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "evaluation.json"
COUNT = 10_000  # pictures of each part
LIMITS = {"encoder": 60, "all": 180}  # seconds on two idle cores
TOLD = {"encoder": "the encoder's row alone", "all": "`selfsight evaluate`, all baselines"}


def run_of(data: Path) -> Any:
    """One step on the pictures, which are written out once."""
    import numpy as np
    from PIL import Image

    import selfsight

    place = data / "runs" / "evaluation"
    table = place / "pictures.csv"
    if not table.exists():
        arrays = np.load(data / "fashion_mnist" / "fashion_mnist.npz")
        rows = []
        for part in ("train", "test"):
            (place / part).mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(arrays[f"x_{part}"][:COUNT]):
                Image.fromarray(picture).save(place / part / f"{number:05d}.png")
                rows.append((f"{part}/{number:05d}.png", str(arrays[f"y_{part}"][number]), part))
        with open(table, "w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *rows])
    small = {"size": 32, "batch": 32, "length": "1steps", "precision": "fp32", "threads": 1}
    return selfsight.train(table, method="simclr", encoder="resnet18", **small, out=place / "run", quiet=True)


def alone(run: Any) -> None:
    """The encoder's row and nothing beside it."""
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import pictures_of
    from selfsight.embedding.embed import embed
    from selfsight.evaluation import measure, protocol

    manifest = Manifest.load(run.folder / "manifest.parquet")
    pictures, encoders, size = pictures_of(run.recipe, manifest), {"encoder": run.encoder()}, run.recipe.size
    features, rows = embed(encoders["encoder"], pictures, manifest.every_row(), size=size, plain=True)
    white = measure.whitenings({"encoder": features}, ~manifest.test[rows], encoders["encoder"])
    ready = {"encoder": measure.Ready.of("encoder", encoders["encoder"], pictures, rows, size)}
    views, shown = measure.two_views(ready, pictures, manifest.test_rows(), lambda samples, train: {}, size=size)
    facts = (manifest.labels[rows], manifest.groups[rows], manifest.test[rows], manifest.classes)
    protocol.evaluate({"encoder": features}, *facts, white=white, views=views, view_groups=manifest.groups[shown])


def measured(line: str, data: Path, threads: int) -> dict[str, float]:
    """Seconds (of the clock, and of the processor), and the peak of memory in MiB, of one line in this process."""
    import torch

    run = run_of(data)
    torch.set_num_threads(threads)
    started, spent = time.perf_counter(), time.process_time()
    with TemporaryDirectory() as cache:  # so that no answer is there from before
        os.environ["SELFSIGHT_CACHE"] = cache
        alone(run) if line == "encoder" else run.evaluate()
    return {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - spent,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(results: dict[str, Any]) -> str:
    """The lines as Markdown."""
    lines = [
        f"{results['pictures']:,} training and as many test pictures, 32 px, ResNet-18, {results['threads']} threads.",
        "",
        "| what | seconds | of the processor | peak of memory, MiB | at most, s | reached |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in results["lines"].items():
        reached = "yes" if one["seconds"] <= LIMITS[name] else "no"
        cells = (TOLD[name], f"{one['seconds']:.0f}", f"{one['processor']:.0f}", f"{one['memory']:.0f}", LIMITS[name])
        lines.append(f"| {' | '.join(map(str, cells))} | {reached} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each line in a process of its own, or print what is there."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--line", choices=LIMITS, help=argparse.SUPPRESS)
    asked = machine.answered(parser, "data")
    if asked.line:
        print(json.dumps(measured(asked.line, asked.data.absolute(), asked.threads)))
        return
    if not asked.table:
        run_of(asked.data.absolute())
        lines = {}
        for name in LIMITS:
            command = [sys.executable, __file__, "--data", asked.data, "--threads", asked.threads, "--line", name]
            done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
            lines[name] = json.loads(done.stdout.splitlines()[-1])
        machine.keep(asked.json, {"pictures": COUNT, "threads": asked.threads, "lines": lines})
    print(table(json.loads(asked.json.read_text())))


if __name__ == "__main__":
    main()
