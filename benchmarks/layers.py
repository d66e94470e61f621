"""How much sooner is a training step done whose convolutions over small maps, and whose attention, are plain products?

    python benchmarks/layers.py [--rows resnet18:64:256:bf16 ...] [--threads N] [--rounds 9] [--json FILE]
    python benchmarks/layers.py --table

A row is an encoder, the pixels of a view, how many views go through it at once, and a precision. Forward, backward and
AdamW on random pictures, with torch's own convolutions and attention and with ours (`selfsight.nn.convolution`,
`selfsight.nn.attention`), in turns in one process.
Rows that are in the result file give way to those that are measured now.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "layers.json"
ROWS = (
    "resnet10t:64:128:bf16", "resnet10t:64:128:fp32", "resnet10t:40:128:bf16", "resnet18:64:256:bf16",
    "resnet18:32:256:bf16", "resnet50:64:128:bf16", "resnet18:224:64:bf16", "vit_tiny_patch16_224:64:64:bf16",
    "vit_small_patch16_224:224:16:bf16",
)  # fmt: skip
SIDES = PLAIN, OURS = "torch", "ours"


def stepping(encoder: Any, size: int, views: int, precision: str, ours: bool) -> Callable[[], None]:
    """A training step of the network."""
    import torch

    layout = torch.channels_last
    encoder.to(memory_format=layout).train()
    pictures = torch.randn(views, 3, size, size, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), attending(ours):
            out = encoder(pictures)
        out.float().square().mean().backward()
        optimizer.step()

    return step


def torchs(network: Any) -> Any:
    """The network with torch's own convolutions."""
    from torch import nn

    from selfsight.nn.convolution import Convolution

    for layer in network.modules():
        if type(layer) is Convolution:
            layer.__class__ = nn.Conv2d
    return network


def attending(ours: bool) -> AbstractContextManager[Any]:
    """Within, attention is ours, or torch's."""
    from selfsight.nn.attention import plain_attention

    return plain_attention() if ours else nullcontext()


def row(encoder: str, size: int, views: int, precision: str, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of a step, each side's own in every round."""
    import torch

    from selfsight import heap
    from selfsight.nn import architectures
    from selfsight.nn.encoder import Encoder

    torch.set_num_threads(threads)
    arguments = architectures.arguments_for(encoder, size, stride=architectures.stride_for(encoder, size))
    ours = Encoder(encoder, size=size, arguments=arguments)
    networks = {PLAIN: torchs(copy.deepcopy(ours)), OURS: ours}
    steps = {name: stepping(one, size, views, precision, name == OURS) for name, one in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    with heap.kept():  # as in training
        for turn, name in product(range(rounds + 1), SIDES):
            started = time.perf_counter()
            steps[name]()
            if turn:  # the first one warms up
                times[name].append(round(1e3 * (time.perf_counter() - started), 1))
    kind = {"encoder": encoder, "size": size, "views": views, "precision": precision, "threads": threads}
    return {**kind, "ms": times}


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = ["| what | torch's layers, ms | ours, ms | times as fast |", "|---|---|---|---|"]
    for one in results["rows"]:
        threads = f"{one['threads']} thread{'s' * (one['threads'] > 1)}"
        what = f"{one['encoder']}, {one['size']} px, {one['views']} views, {one['precision']}, {threads}"
        ratios = [plain / ours for plain, ours in zip(*(one["ms"][name] for name in SIDES), strict=True)]
        times = (f"{median(one['ms'][name]):.0f}" for name in SIDES)
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {' | '.join([what, *times, spread])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, keep each row at once, and print all."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--threads", type=int, default=machine.facts()["cores"])
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    rows = machine.before(asked.json)["rows"]
    for name in () if asked.table else asked.rows:
        encoder, size, views, precision = name.split(":")
        made = row(encoder, int(size), int(views), precision, asked.threads, asked.rounds)
        rows = [one for one in rows if any(one[key] != made[key] for key in made if key != "ms")] + [made]
        machine.keep(asked.json, {"rows": rows})
    print(table({"rows": rows}))


if __name__ == "__main__":
    main()
