"""NT-Xent beside lightly's: how long forward and backward take, and how much memory they need.

    python benchmarks/nt_xent.py [--rounds 5] [--threads 2] [--json FILE]

4,096 pairs of 128 numbers. Both sides take turns, each time in a process of its own: a small batch warms up, then one
forward and backward on the whole batch for its memory (what the resident set grows by at most, on Linux), then three
whose median is the time. Ours also takes 32,768 pairs, which as one matrix would be 16 GiB. In both, rows come with any
length and are brought to length 1 within the measurement; the temperature is lightly's default.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import machine

PAIRS, MANY, WIDTH, TEMPERATURE = 4096, 32_768, 128, 0.5
FASTER, LESS, MOST = 1.7, 8, 600  # the goals: times lightly's speed, a part of its memory, MiB for MANY pairs
TIMED = 3


def loss_of(side: str) -> Callable[..., Any]:
    """(first, second) to the loss."""
    if side == "selfsight":
        from selfsight.losses.nt_xent import nt_xent
        from selfsight.losses.precision import unit

        return lambda first, second: nt_xent(unit(first), unit(second), temperature=TEMPERATURE)
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # no look-up of its newest version
    from lightly.loss import NTXentLoss

    criterion: Callable[..., Any] = NTXentLoss(temperature=TEMPERATURE)
    return criterion


def measured(side: str, pairs: int, threads: int, timed: int) -> tuple[float, float]:
    """Seconds of forward and backward, and MiB that they take."""
    import torch

    from selfsight.training.memory import growth

    torch.set_num_threads(threads)
    loss, generator = loss_of(side), torch.Generator().manual_seed(0)
    both = [torch.randn(pairs, WIDTH, generator=generator).requires_grad_() for _ in range(2)]

    def once(first: Any, second: Any) -> None:
        torch.autograd.grad(loss(first, second), [first, second])

    once(*(rows[:64] for rows in both))
    memory = growth(lambda: once(*both)) / 2**20
    times = []
    for _ in range(timed):
        started = time.perf_counter()
        once(*both)
        times.append(time.perf_counter() - started)
    return (median(times) if times else 0.0), memory


def alone(*arguments: Any) -> tuple[float, float]:
    """`measured` in a new process that ends afterwards."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, *arguments).result()


def compare(rounds: int, threads: int) -> dict[str, Any]:
    """Figures of both sides."""
    found: dict[str, list[tuple[float, float]]] = {"selfsight": [], "lightly": []}
    for turn in range(rounds):
        for side in list(found)[:: 1 if turn % 2 == 0 else -1]:
            found[side].append(alone(side, PAIRS, threads, TIMED))
    seconds = {side: [round(one, 3) for one, _ in rows] for side, rows in found.items()}
    memory = {side: round(max(one for _, one in rows), 1) for side, rows in found.items()}
    ratios = [b / a for a, b in zip(seconds["selfsight"], seconds["lightly"], strict=True)]
    return {
        "seconds": seconds,
        "memory": memory,
        "ratios": ratios,
        "many": round(alone("selfsight", MANY, threads, 0)[1], 1),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    seconds, memory, ratios = results["seconds"], results["memory"], results["ratios"]
    faster, less = median(ratios), memory["lightly"] / memory["selfsight"]
    spread = f"{faster:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    yes = {True: "yes", False: "no"}
    ours, theirs = (median(seconds[side]) for side in ("selfsight", "lightly"))
    time_told = f"| {ours:.3f} | {theirs:.3f} | {spread} | {FASTER} | {yes[faster >= FASTER]} |"
    memory_told = f"| {memory['selfsight']:.0f} | {memory['lightly']:.0f} | {less:.1f} | {LESS} | {yes[less >= LESS]} |"
    return "\n".join(
        [
            f"{PAIRS:,} pairs of {WIDTH} numbers, {results['threads']} threads; lightly {results['lightly']}.",
            "",
            "| | selfsight | lightly | times | at least | reached |",
            "|---|---|---|---|---|---|",
            f"| forward and backward, s {time_told}",
            f"| memory beyond the batch, MiB {memory_told}",
            "",
            f"{MANY:,} pairs need {results['many']:.0f} MiB, at most {MOST}: {yes[results['many'] <= MOST]}.",
        ]
    )


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    results = {"threads": asked.threads, "lightly": version("lightly"), **compare(asked.rounds, asked.threads)}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
