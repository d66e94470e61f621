"""Vectors into PostgreSQL with pgvector and back: how long, and how much of the exact answer its index finds.

    python benchmarks/postgres.py [--rows 100000] [--width 512] [--json FILE]

A server of our own (see cluster.py) on this machine, without fsync. In: what `embed --to` does with vectors that are
there already, COPY in batches of 256, then the HNSW index with the effort that reaches the recall, measured on 50 of
the rows. The recall stated here is measured anew, with 200 other queries. Back: all of it, read into memory.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import machine
import numpy as np
from cluster import cluster
from neighbours import rows as clouds

from selfsight.data.manifest import Manifest
from selfsight.neighbours import nearest
from selfsight.searching.database import Database
from selfsight.searching.fill import fill
from selfsight.searching.narrow import Narrow

ROWS, WIDTH, QUERIES, TEN = 100_000, 512, 200, 10
BATCH = 256
LEAST = 0.98  # recall@10
FACTS = {"encoder": "", "run": "/nowhere", "kind": "pictures", "size": 0, "patches": False}


def manifest(count: int) -> Manifest:
    """Rows that have no files."""
    names = [f"{row:07d}.png" for row in range(count)]
    rows = {"names": names, "paths": [f"/nowhere/{name}" for name in names], "digests": names, "bad": ()}
    return cast(Manifest, SimpleNamespace(**rows, labels=np.full(count, -1), classes=()))


def measure(count: int, width: int) -> dict[str, Any]:
    """All figures."""
    queries, vectors = clouds(QUERIES, count, width)
    exact = nearest(queries, vectors, TEN)[1]
    copied: list[float] = []

    def parts(new: np.ndarray) -> Any:
        for start in range(0, len(new), BATCH):
            yield vectors[new[start : start + BATCH]], new[start : start + BATCH]
        copied.append(time.perf_counter())

    with cluster() as server:
        started = time.perf_counter()
        fill(Database(server.address), {**FACTS, "width": width}, manifest(count), parts, prune=False)
        ended = time.perf_counter()
        database = Database.open(server.address)
        stated, effort, took, shares = database.recall, database.facts["effort"], [], []
        for query, right in zip(queries, exact, strict=True):
            before = time.perf_counter()
            hits = database.find(query, TEN, Narrow())
            took.append(time.perf_counter() - before)
            shares.append(len({hit["row"] for hit in hits} & set(right.tolist())) / TEN)
        before = time.perf_counter()
        index = database.fetched()
        back = time.perf_counter() - before
    recall = float(np.mean(shares))
    return {
        "copy": round(copied[0] - started, 1),
        "index": round(ended - copied[0], 1),
        "back": round(back, 1),
        "same": bool(np.array_equal(index.vectors, vectors)),
        "query": round(median(took), 5),
        "effort": effort,
        "stated": stated,
        "recall": round(recall, 4),
        "reached": recall >= LEAST,
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    heads = ("in by COPY, s", "index and its recall, s", "back, s", "back bit for bit", "a query, ms", "ef_search")
    row = [f"{results[name]:.1f}" for name in ("copy", "index", "back")]
    row += ["yes" if results["same"] else "no", f"{1000 * results['query']:.1f}", str(results["effort"])]
    row += [f"{results['recall']:.3f} ({results['stated']:.3f})", str(LEAST), "yes" if results["reached"] else "no"]
    return (
        f"{results['rows']:,} vectors of {results['width']}.\n\n"
        f"| {' | '.join((*heads, 'recall@10 (stated)', 'at least', 'reached'))} |\n{'|---' * 9}|\n| {' | '.join(row)} |"
    )


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    results = {"rows": asked.rows, "width": asked.width, **measure(asked.rows, asked.width)}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
