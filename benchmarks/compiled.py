"""Would `torch.compile` pay within a run? Seconds to compile and of a step, and from which step on it is sooner.

    python benchmarks/compiled.py [--encoders resnet18 ...] [--size 64] [--batch 128] [--json FILE]

The bare SimCLR step (forward, backward, optimizer) on tensors that are in memory, in the plan's precision and layout
unless `--precision` says otherwise, with the encoder's backbone as it is and compiled. They take turns, step by step;
the first step of the compiled one is its compilation, by an empty cache.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "compiled.json"


def measure(encoder: str, asked: Any) -> dict[str, Any]:
    """Seconds of both kinds of step for one encoder."""
    import torch

    from selfsight.methods.simclr import SimCLR
    from selfsight.nn.encoder import Encoder

    torch.set_num_threads(asked.threads)
    pixels = torch.randint(0, 256, (asked.batch, 2, asked.size, asked.size, 3), dtype=torch.uint8)
    steps = {}
    for name in ("plain", "compiled"):
        torch.manual_seed(0)
        made = Encoder(encoder, size=asked.size)
        if asked.channels_last:
            made.channels_last = True
            made.to(memory_format=torch.channels_last)
        method = SimCLR(made, temperature=0.5, augmentation="simclr")
        if name == "compiled":
            made.backbone = torch.compile(made.backbone)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.0, momentum=0.9, fused=True)
        steps[name] = partial(step, method, optimizer, {"views": pixels}, asked.precision == "bf16")
    first = {name: work() for name, work in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(asked.steps):
        for name, work in steps.items():
            times[name].append(round(work(), 4))
    return {"first": {name: round(one, 2) for name, one in first.items()}, "steps": times}


def step(method: Any, optimizer: Any, batch: dict[str, Any], bf16: bool) -> float:
    """Seconds of one step."""
    import torch

    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        projections = method.project(batch)
    method.loss({name: rows.float() for name, rows in projections.items()}, batch)["loss"].backward()
    optimizer.step()
    return time.perf_counter() - started


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    had = results["settings"]
    lines = [
        f"SimCLR, {had['size']} px, batch {had['batch']}, {had['precision']}, {had['threads']} threads.",
        "",
        "| encoder | step, s | compiled, s | times | to compile, s | sooner from step | that is, minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for encoder, row in results["encoders"].items():
        plain, compiled = (median(row["steps"][name]) for name in ("plain", "compiled"))
        cost, gain = row["first"]["compiled"] - compiled, plain - compiled
        told = f"{cost / gain:,.0f} | {plain * cost / gain / 60:.1f}" if gain > 0 else "never | "
        lines.append(f"| {encoder} | {plain:.3f} | {compiled:.3f} | {plain / compiled:.2f} | {cost:.0f} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, keep and print."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "vit_tiny_patch16_224"])
    for name, default in (("size", 64), ("batch", 128), ("steps", 8), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--channels-last", action="store_true")
    asked = machine.answered(parser)
    results = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    names = ("size", "batch", "steps", "threads", "precision", "channels_last")
    settings = {name: getattr(asked, name) for name in names}
    found = results.get("encoders", {}) if asked.table or results.get("settings") == settings else {}
    for encoder in [] if asked.table else asked.encoders:
        if encoder not in found:
            with tempfile.TemporaryDirectory(prefix="compiled_") as cache:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
                found[encoder] = measure(encoder, asked)
            machine.keep(asked.json, {"settings": settings, "encoders": found})
    print(table({"settings": results["settings"] if asked.table else settings, "encoders": found}))


if __name__ == "__main__":
    main()
