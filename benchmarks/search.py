"""Exact search in an index on disk beside a plain matrix product and top-k in memory, and the faster search with faiss.

    python benchmarks/search.py [--rows 400000] [--width 384] [--rounds 9] [--threads 2] [--json FILE]

The ten nearest of 1 and of 64 queries. Ours is `Index.nearest` on memory-mapped vectors of any length, as `embed`
writes them, once they have been read; plain is `torch.topk` of `torch.mm` on rows that are in memory and have length
one. They take turns in one process, with as many threads; the ratio is of the medians. faiss is what `--approximate`
builds, with the recall that it states. Not needed by Selfsight: faiss-cpu.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
import pyarrow
import torch
from neighbours import rows as clouds

from selfsight.embedding.store import Stored
from selfsight.searching.index import Index

ROWS, WIDTH = 400_000, 384
QUERIES = (1, 64)
TEN = 10
SLOWER = 1.2  # the most that is allowed, times plain
LIMIT = 0.98  # recall, at least


def index_of(folder: Path, vectors: np.ndarray) -> Index:
    """An index on disk, mapped, of rows that have no files."""
    np.save(folder / "embeddings.npy", vectors)
    names = [f"{row}.png" for row in range(len(vectors))]
    columns = dict.fromkeys(("path", "file", "digest"), names) | {"label": pyarrow.nulls(len(vectors), "string")}
    lengths = np.linalg.norm(vectors, axis=1).astype(np.float32)
    table = pyarrow.table({**columns, "length": lengths, "row": np.arange(len(vectors))})
    facts = {"encoder": "", "run": "/nowhere", "kind": "pictures", "size": 0, "table": "this one"}
    return Index(Stored(np.load(folder / "embeddings.npy", mmap_mode="c"), table, facts), str(folder))


def seconds(search: Callable[[], object]) -> float:
    """Wall time of one search."""
    started = time.perf_counter()
    search()
    return time.perf_counter() - started


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    queries, unit_rows = clouds(max(QUERIES), asked.rows, asked.width)
    plain_rows, found = torch.from_numpy(unit_rows), {}
    scale = np.random.default_rng(1).uniform(0.5, 20, (asked.rows, 1)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        index = index_of(Path(folder), unit_rows * scale)
        for count in QUERIES:
            some = queries[:count]
            sides: dict[str, Callable[[], object]] = {
                "selfsight": lambda some=some: index.nearest(some, TEN),
                "plain": lambda some=some: torch.mm(torch.from_numpy(some), plain_rows.T).topk(TEN),
            }
            times: dict[str, list[float]] = {name: [] for name in sides}
            for number in range(asked.rounds + 1):
                for name, search in sides.items():
                    took = seconds(search)
                    if number:  # the first warms up
                        times[name].append(round(took, 5))
            ratio = median(times["selfsight"]) / median(times["plain"])
            found[str(count)] = {"seconds": times, "ratio": round(ratio, 3), "reached": ratio <= SLOWER}
        built = seconds(index.speed_up)
        faster = {str(n): round(seconds(lambda n=n: index.nearest(queries[:n], TEN)), 5) for n in QUERIES}
    return {"queries": found, "faiss": {"built": round(built, 1), "seconds": faster, "recall": index.recall}}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"The ten nearest among {results['rows']:,} rows of {results['width']}, {results['threads']} threads.\n",
        "| queries | selfsight, ms | plain, ms | ratio | at most | reached |",
        "|---|---|---|---|---|---|",
    ]
    for count, row in results["queries"].items():
        ours, plain = (f"{1000 * median(row['seconds'][side]):.1f}" for side in ("selfsight", "plain"))
        reached = "yes" if row["reached"] else "no"
        lines.append(f"| {count} | {ours} | {plain} | {row['ratio']:.2f} | {SLOWER} | {reached} |")
    faiss = results["faiss"]
    if faiss["recall"] is not None:
        took = ", ".join(f"{1000 * one:.1f} ms for {count}" for count, one in faiss["seconds"].items())
        lines.append(
            f"\nWith `--approximate`: {took}; recall@10 {faiss['recall']:.3f}, built in {faiss['built']:.0f} s."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    sizes = {"rows": asked.rows, "width": asked.width, "threads": asked.threads}
    results = {**sizes, **measure(asked)}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
