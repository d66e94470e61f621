"""ONNX Runtime beside torch: the same encoder in float32, images a second in batches of 1 and 32.

    python benchmarks/onnx_runtime.py [--rounds 7] [--threads 2] [--json FILE] [--table]

Both sides take turns in one process, on the same normalised floats and as many threads; torch is eager, in inference
mode. The ratio is of the medians: above 1, ONNX Runtime is faster. Vectors are compared as well.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
import torch

from selfsight.exporting import graph, parity
from selfsight.nn.encoder import Encoder

RESULTS = Path(__file__).parent / "results" / "onnx_runtime.json"
NETWORKS = (("resnet18", 64), ("resnet18", 224), ("vit_tiny_patch16_224", 64), ("vit_small_patch16_224", 224))
BATCHES = (1, 32)
LEAST = 0.5  # seconds of a round, at least


def seconds(answer: Callable[[], Any], times: int) -> float:
    """Of one call, by the wall."""
    started = time.perf_counter()
    for _ in range(times):
        answer()
    return (time.perf_counter() - started) / times


def compare(name: str, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """One network, one batch: seconds of each round, ratio, lowest cosine."""
    torch.manual_seed(0)
    encoder = Encoder(name, size=size).eval()
    views = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8))
    pixels = encoder.normalised(views)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        graph.write(encoder, file, views, ["embedding"], preprocess=False, facts={})
        runtime = graph.by_runtime(file, encoder, preprocess=False)
    sides: dict[str, Callable[[], Any]] = {
        "torch": torch.inference_mode()(lambda: encoder(pixels)),
        "onnxruntime": lambda: runtime(views),
    }
    own, other = parity.answered(graph.by_torch(encoder, ["embedding"]), views), runtime(views)
    times = {side: max(1, int(LEAST / seconds(answer, 3))) for side, answer in sides.items()}  # warm by then
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, answer in sides.items():
            taken[side].append(seconds(answer, times[side]))
    return {
        "seconds": {side: [round(one, 6) for one in many] for side, many in taken.items()},
        "ratio": round(median(taken["torch"]) / median(taken["onnxruntime"]), 3),
        "lowest_cosine": parity.lowest_cosine(own["embedding"], other["embedding"]),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"Images a second in float32, {results['threads']} threads; ONNX Runtime {results['onnxruntime']}.\n",
        "| network, size | batch | torch | ONNX Runtime | times as fast | lowest cosine |",
        "|---|---|---|---|---|---|",
    ]
    for named, row in results["rows"].items():
        network, size, batch = named.split()
        speeds = [int(batch) / median(row["seconds"][side]) for side in ("torch", "onnxruntime")]
        lines.append(
            f"| `{network}`, {size} px | {batch} | {speeds[0]:.0f} | {speeds[1]:.0f} | {row['ratio']:.2f} | "
            f"{row['lowest_cosine']:.6f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what the result file lacks, and print the table."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    asked = machine.answered(parser)
    results = json.loads(asked.json.read_text()) if asked.json.exists() else {"rows": {}}
    if not asked.table:
        torch.set_num_threads(asked.threads)
        facts = {"threads": asked.threads, "onnxruntime": version("onnxruntime")}
        for name, size in NETWORKS:
            for batch in BATCHES:
                if (key := f"{name} {size} {batch}") not in results["rows"]:
                    results = facts | {"rows": results["rows"] | {key: compare(name, size, batch, asked.rounds)}}
                    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
