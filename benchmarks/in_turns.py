"""What is left of the bare step in training, the two in turns in one process?

    python benchmarks/in_turns.py [--rows resnet18:64 resnet18:32 vit_tiny_patch16_224:64 resnet18:64:second ...]
    python benchmarks/in_turns.py --table

SimCLR on crops of photographs: our training as `train` runs it, with its loader, looks, glances and saves. After every
few steps its clock stands still while as many bare steps are made: forward, backward and optimizer in plain PyTorch on
a batch that is in memory, of a network of their own by the same recipe, with threads that wait asleep as ours do; and
as many of ours, whose convolutions and attention are those of layers.py. What is missing to the last is what we do
beside the step. So a machine that is slow for a minute is slow for all: between processes minutes apart, as in
end_to_end.py, the same bare step has had from 36 to 50 images/s. A run as short as this would look for longer than the
1 % of its time that a real one does, so its looks are fewer and at fewer pictures. The first turn warms up. Above 96 px
a batch is 32. A row of `second` is of JPEGs of 500 x 375, of which six turns make two epochs: it has the last three
turns, in which nothing is decoded any more. Rows that are in the result file and were made with the same options are
not measured again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import photographs
from end_to_end import SMALL, alone, bare_step, crops_for, kind, shown, side_of, spread, summary
from layers import torchs

RESULTS = Path(__file__).with_name("results") / "in_turns.json"
ROWS = ("resnet18:64", "resnet18:32", "resnet18:224", "vit_tiny_patch16_224:64", "resnet18:64:second")
LOOKS = 4
TURNS = 6  # and one before them that warms up
TARGET = 0.95  # of the bare step, at least
SECOND, WIDTH, HEIGHT = "second", 500, 375


def measured(
    folder: str, scratch: str, encoder: str, size: int, batch: int, second: bool, asked: argparse.Namespace
) -> Any:
    """Images/s of each turn that counts: ours, the bare step, and our own step alone."""
    import numpy as np
    import torch

    from selfsight.data.manifest import scan
    from selfsight.data.source import find
    from selfsight.training import plan as planning
    from selfsight.training.build import engine, method_of, optimizer_of
    from selfsight.training.data import TrainingData
    from selfsight.training.loop import Trainer
    from selfsight.training.progress import Watcher
    from selfsight.training.request import Request
    from selfsight.training.session import WORKERS

    os.environ["SELFSIGHT_CACHE"] = f"{scratch}/cache"
    warm = TURNS // 2 if second else 1
    steps = asked.turn * (TURNS if second else TURNS + warm)
    looks = {"monitor_points": str(LOOKS), "monitor_pictures": str(shown(steps, batch, LOOKS))}
    request = Request(
        data=[folder], method="simclr", encoder=encoder, size=size, batch=batch, device="cpu", length=f"{steps}steps",
        lr=0.06, settings={"optimizer": "sgd", **looks}, use_all=True,
    )  # fmt: skip
    manifest = scan(find(request.data), use_all=True)
    recipe, _ = planning.plan(request, manifest)
    torch.set_num_threads(recipe.threads)
    run, method = Path(scratch, "run"), method_of(recipe)
    run.mkdir()
    others = {"bare": torchs(method_of(recipe)), "own": method_of(recipe)}
    optimizers = {name: optimizer_of(recipe, one) for name, one in others.items()}
    data = TrainingData(recipe, manifest, method, run, WORKERS)
    fixed = data.loader.collate(np.arange(batch), 0)
    turns: dict[str, list[float]] = {"ours": [], **{name: [] for name in others}}

    class InTurns(Trainer):
        def begin(self) -> None:
            super().begin()
            self.began = time.perf_counter()

        def after(self, step: int, signals: Any) -> None:
            super().after(step, signals)
            if step % asked.turn:
                return
            turns["ours"].append(time.perf_counter() - self.began)
            time.sleep(asked.pause)  # what the loader has begun ends: it has as many batches ahead as at the beginning
            self.began = time.perf_counter()
            for name, one in others.items():
                started = self.began
                for _ in range(asked.turn):
                    bare_step(recipe, one, optimizers[name], fixed, ours=name == "own")
                self.began = time.perf_counter()
                turns[name].append(self.began - started)

    watcher = Watcher(recipe, quiet=True)
    InTurns(recipe, run, engine(recipe), method, optimizer_of(recipe, method), data, watcher, asked.save_every).fit()
    facts = {name: getattr(recipe, name) for name in ("precision", "channels_last", "threads")}
    return facts | {name: [round(asked.turn * batch / one, 2) for one in of[warm:]] for name, of in turns.items()}


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| what | bare, images/s | ours, images/s | ours against it | at least | reached | against our step alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        what = f"{kind(row)}; {len(row['ours'])} turns"
        what += f", the second epoch of JPEGs of {WIDTH} x {HEIGHT}" if row["second"] else ""
        ratio, beside = (
            summary([ours / other for ours, other in zip(row["ours"], row[name], strict=True)], 3)
            for name in ("bare", "own")
        )
        speeds = " | ".join(spread(summary(row[name], 2), 1) for name in ("bare", "ours"))
        reached = "yes" if ratio["median"] >= TARGET else "no"
        lines.append(f"| {what} | {speeds} | {spread(ratio, 3)} | {TARGET} | {reached} | {spread(beside, 3)} |")
    return "\n".join(lines)


def row(key: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Write the pictures, and measure."""
    encoder, size, batch, second = (key[name] for name in ("encoder", "size", "batch", "second"))
    with tempfile.TemporaryDirectory(prefix="in_turns_") as scratch:
        shape = {"count": crops_for(size), "side": side_of(size)}
        if second:
            shape = {"count": TURNS // 2 * asked.turn * batch, "side": HEIGHT, "width": WIDTH}
        folder = photographs.crops(Path(scratch, "pictures"), suffix=".jpg", **shape)
        return {**key, **alone(measured, str(folder), scratch, encoder, size, batch, second, asked)}


def main() -> None:
    """Measure the rows that are missing, keep each at once, and print all."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="encoder and pixels")
    parser.add_argument("--turn", type=int, default=12, help="steps")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between the two")
    parser.add_argument("--save-every", type=float, default=120.0, help="seconds, by the clock of both")
    asked = machine.answered(parser)
    rows = machine.before(asked.json)["rows"]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `selfsight` does, for the processes that measure
    for name in [] if asked.table else asked.rows:
        encoder, size, *second = name.split(":")
        batch = 128 if int(size) <= SMALL and "vit" not in encoder else 32
        key = {"encoder": encoder, "size": int(size), "batch": batch, "second": second == [SECOND]}
        options = {"turn": asked.turn, "save_every": asked.save_every}
        if any((key | options).items() <= one.items() for one in rows):
            continue
        rows = [one for one in rows if not key.items() <= one.items()]
        rows.append({**options, **row(key, asked)})
        machine.keep(asked.json, {"rows": rows})
    print(table({"rows": rows}))


if __name__ == "__main__":
    main()
