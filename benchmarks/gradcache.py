"""A batch of 4,096 pictures in micro-batches of 128, beside batches of 128 as they are: how fast, in how much memory?

    python benchmarks/gradcache.py [--batch 4096] [--micro-batch 128] [--rounds 3] [--threads N] [--json FILE]
    python benchmarks/gradcache.py --table

SimCLR with a ResNet-18 at 32 px, in the precision and layout that our plan chooses by measuring, or `--precision`. Both
sides take turns, each time in a process of its own: forward, backward and optimizer on the same 4,096 pictures, which
are in memory, after a small step that warms up. The large batch goes through the network twice, once without a graph,
and its loss compares all views with all, so that at best it has 3/4 of the other side's images/s. Memory is the most
that is resident in the process, libraries and pictures included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import machine
import photographs

RESULTS = Path(__file__).with_name("results") / "gradcache.json"
ENCODER, SIZE = "resnet18", 32
LEAST, MOST = 0.6, 2.0  # the goals: of the plain side's images/s, GiB


def plan(scratch: str, micro: int, precision: str | None, threads: int | None) -> dict[str, Any]:
    """Keep the recipe of a run with the small batch; what of it both sides share."""
    from selfsight.data.manifest import scan
    from selfsight.data.source import find
    from selfsight.training import plan as planning
    from selfsight.training.request import Request

    folder = photographs.crops(Path(scratch, "pictures"), count=2 * micro, side=SIZE)
    request = Request(
        data=[str(folder)], method="simclr", encoder=ENCODER, size=SIZE, batch=micro, device="cpu", length="1m",
        precision=precision, threads=threads, use_all=True,
    )  # fmt: skip
    recipe, reasons = planning.plan(request, scan(find(request.data), use_all=True))
    Path(scratch, "recipe.yaml").write_text(recipe.to_yaml(reasons))
    return {name: getattr(recipe, name) for name in ("precision", "channels_last", "threads")}


def measured(scratch: str, batch: int, pictures: int) -> tuple[float, float]:
    """Images/s over all pictures in batches of `batch`, and the most memory in GiB."""
    import torch

    from selfsight.recipe import Recipe
    from selfsight.training import gradcache, memory
    from selfsight.training.build import method_of, optimizer_of

    recipe = replace(Recipe.from_yaml(Path(scratch, "recipe.yaml")), batch=batch)
    torch.set_num_threads(recipe.threads)
    method = method_of(recipe)
    optimizer = optimizer_of(recipe, method)
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (pictures, 2, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=recipe.precision == "bf16")

    def step(part: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        gradcache.gradient(
            method, method.project, {"views": part}, recipe.micro_batch, key=0, backward=torch.Tensor.backward,
            autocast=autocast,
        )  # fmt: skip
        optimizer.step()

    step(views[: recipe.micro_batch])
    started = time.perf_counter()
    for start in range(0, pictures, batch):
        step(views[start : start + batch])
    return pictures / (time.perf_counter() - started), memory.peak() / 2**30


def alone(function: Any, *arguments: Any) -> Any:
    """Call in a new process that ends afterwards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare(asked: argparse.Namespace) -> dict[str, Any]:
    """Figures of both sides."""
    sides = {"plain": asked.micro_batch, "cached": asked.batch}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="gradcache_") as scratch:
        shared = alone(plan, scratch, asked.micro_batch, asked.precision, asked.threads)
        for turn in range(asked.rounds):
            for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(alone(measured, scratch, sides[name], asked.batch))
    return {
        **shared,
        "batch": asked.batch,
        "micro_batch": asked.micro_batch,
        "images_per_second": {name: [round(speed, 1) for speed, _ in rows] for name, rows in found.items()},
        "memory": {name: round(max(most for _, most in rows), 2) for name, rows in found.items()},
        "ratios": [round(ours[0] / plain[0], 3) for ours, plain in zip(found["cached"], found["plain"], strict=True)],
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    speeds, memory, ratios = results["images_per_second"], results["memory"], results["ratios"]
    layout = ", channels last" if results["channels_last"] else ""
    reached = "yes" if median(ratios) >= LEAST and memory["cached"] <= MOST else "no"
    spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    parts = f"{results['batch']:,} in micro-batches of {results['micro_batch']}"
    return "\n".join(
        [
            f"SimCLR, {ENCODER}, {SIZE} px, {results['precision']}{layout}, {results['threads']} threads.",
            "",
            "| batch | images/s | memory, GiB |",
            "|---|---|---|",
            f"| {results['micro_batch']:,} | {median(speeds['plain']):.0f} | {memory['plain']:.2f} |",
            f"| {parts} | {median(speeds['cached']):.0f} | {memory['cached']:.2f} |",
            "",
            f"{spread} of the images/s, at least {LEAST}, in at most {MOST:g} GiB: {reached}.",
        ]
    )


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = machine.asks(__doc__, RESULTS)
    for name, default in (("batch", 4096), ("micro-batch", 128), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: the faster one, measured")
    parser.add_argument("--threads", type=int, help="default: one for each core")
    asked = machine.answered(parser)
    if asked.table:
        print(table(json.loads(asked.json.read_text())))
        return
    results = compare(asked)
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
