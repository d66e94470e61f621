"""Exact nearest neighbours beside faiss: the same answer, how long, and how much memory.

    python benchmarks/neighbours.py [--rounds 5] [--threads 2] [--k 20 200] [--json FILE]

10,000 queries against 50,000 rows of 512 numbers, by cosine; 200 neighbours are the most that a kNN score uses. Both
sides take turns in one process, on the same unit rows and as many threads; the ratio is of the medians. faiss is
`IndexFlatIP`, its `add` and `search` together. Memory is what the resident set grows by at most during one search, on
Linux. Not needed by Selfsight: faiss-cpu.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import machine
import numpy as np
import torch

from selfsight.neighbours import nearest, unit

QUERIES, ROWS, WIDTH = 10_000, 50_000, 512
NEIGHBOURS = (20, 200)
SLOWER, MEMORY = 1.5, 1.0  # the most that is allowed: times faiss, GiB

Found = tuple[np.ndarray, np.ndarray]


def rows(queries: int = QUERIES, gallery: int = ROWS, width: int = WIDTH) -> Found:
    """Unit rows with some structure: a hundred clouds, as embeddings have them."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((100, width), dtype=np.float32)

    def cloud(count: int) -> np.ndarray:
        noise = generator.standard_normal((count, width), dtype=np.float32)
        return unit(noise + centres[generator.integers(0, len(centres), count)])

    return cloud(queries), cloud(gallery)


def by_faiss(queries: np.ndarray, gallery: np.ndarray, k: int) -> Found:
    """Scores and places of the k largest inner products."""
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    scores, places = index.search(queries, k)
    return scores, places


def seconds(search: Callable[[], Found]) -> float:
    """Wall time of one search."""
    started = time.perf_counter()
    search()
    return time.perf_counter() - started


def growth(search: Callable[[], Found]) -> float:
    """GiB that the resident set grew by at its peak; 0 where Linux does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
        before = resident("VmRSS")
        search()
        return (resident("VmHWM") - before) / 1024**2
    except OSError:
        return 0.0


def resident(name: str) -> int:
    """A line of /proc/self/status, KiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def agreement(ours: Found, theirs: Found) -> float:
    """Share of places that are the same; rounding may swap two rows that are equally near."""
    return float((ours[1] == theirs[1]).mean())


def compare(k: int, rounds: int) -> dict[str, Any]:
    """Figures for one k. A first search of each side warms up and does not count."""
    queries, gallery = rows()
    sides: dict[str, Callable[[], Found]] = {
        "selfsight": lambda: nearest(queries, gallery, k),
        "faiss": lambda: by_faiss(queries, gallery, k),
    }
    memory = growth(sides["selfsight"])  # which warms up as well
    same = agreement(nearest(queries[:500], gallery, k), by_faiss(queries[:500], gallery, k))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, search in sides.items():
            times[name].append(seconds(search))
    ratio = median(times["selfsight"]) / median(times["faiss"])
    return {
        "seconds": {name: [round(one, 2) for one in taken] for name, taken in times.items()},
        "ratio": round(ratio, 3),
        "memory": round(memory, 3),
        "same": round(same, 6),
        "reached": ratio <= SLOWER and memory <= MEMORY,
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{QUERIES:,} queries, {ROWS:,} rows, width {WIDTH}, {results['threads']} threads; faiss {results['faiss']}.\n",
        "| k | selfsight, s | faiss, s | ratio | at most | memory, GiB | at most | same places | reached |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for k, row in results["k"].items():
        ours, theirs = (f"{median(row['seconds'][side]):.2f}" for side in ("selfsight", "faiss"))
        lines.append(
            f"| {k} | {ours} | {theirs} | {row['ratio']:.2f} | {SLOWER} | {row['memory']:.2f} | {MEMORY:g} | "
            f"{100 * row['same']:.3f} % | {'yes' if row['reached'] else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, nargs="+", default=NEIGHBOURS)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    faiss.omp_set_num_threads(asked.threads)
    found = {str(k): compare(k, asked.rounds) for k in asked.k}
    results = {"threads": asked.threads, "faiss": version("faiss-cpu"), "k": found}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
