"""What do two ranks on two cores gain over one, with the same global batch, and how much of a step is talk?

    python benchmarks/ranks.py [--size 64] [--batch 128] [--steps 40] [--rounds 3] [--json FILE]

SimCLR with a ResNet-18 in fp32 on crops of scikit-learn's photographs: `selfsight train` with one thread, with two
threads, and as two ranks of one thread by torchrun, in turns; images/s between the first look and the last of each
run's timing.jsonl. One rank looks while the other waits: at so few pictures that it takes the 1 % that it takes of a
real run's time. The share of communication is the time of an all-reduce of the network's gradient and of a gather
of the projections between two such ranks that do nothing else, against the time of a step of theirs: what it would
cost if none of it were hidden behind the backward pass.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
import photographs
from end_to_end import shown, summary

RESULTS = Path(__file__).with_name("results") / "ranks.json"
SIDES = {"1 rank, 1 thread": (1, 1), "1 rank, 2 threads": (1, 2), "2 ranks, 1 thread each": (2, 1)}
PARAMETERS, WIDTH = 11_500_000, 128  # about a ResNet-18 with its head, and the width of a projection
LOOKS = 4


def trained(folder: Path, scratch: str, asked: argparse.Namespace, ranks: int, threads: int) -> float:
    """Images/s of a run."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        python = [sys.executable, "-m"]
        if ranks > 1:
            python += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
        command = [*python, "selfsight", "train", str(folder), "--out", f"{out}/run", "--use-all", "--method", "simclr"]
        command += ["--encoder", "resnet18", "--device", "cpu", "--for", f"{asked.steps}steps", "--precision", "fp32"]
        command += ["--size", str(asked.size), "--batch", str(asked.batch), "--threads", str(threads), "--workers", "1"]
        looks = [f"monitor_points={LOOKS}", f"monitor_pictures={shown(asked.steps, asked.batch, LOOKS)}"]
        command += [word for one in (*looks, "channels_last=false") for word in ("--set", one)]
        command += ["--quiet", "--save-every", "1h"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        looks = [json.loads(line) for line in Path(out, "run", "timing.jsonl").read_text().splitlines()]
    first, last = (look for look in looks if look["step"] in (asked.steps // LOOKS, asked.steps))
    return float((last["step"] - first["step"]) * asked.batch / (last["seconds"] - first["seconds"]))


def talk(rank: int, port: int, batch: int, heard: Any) -> None:
    """Seconds of what two ranks say to each other in a step."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    gradient, projections, times = torch.zeros(PARAMETERS), torch.zeros(batch, WIDTH), []
    for _ in range(12):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(gradient)
        dist.all_gather([torch.empty_like(projections) for _ in range(2)], projections)
        times.append(time.perf_counter() - started)
    if rank == 0:
        heard.put(median(times[2:]))
    dist.destroy_process_group()


def talking(batch: int) -> float:
    """The same, in processes of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    heard = context.Queue()
    ranks = [context.Process(target=talk, args=(rank, port, batch, heard)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    found = float(heard.get(timeout=300))
    for rank in ranks:
        rank.join()
    return found


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    had, speeds = results["settings"], results["images_per_second"]
    base = speeds["1 rank, 1 thread"]["median"]
    lines = [
        f"SimCLR, ResNet-18, {had['size']} px, global batch {had['batch']}, fp32; rounds: {had['rounds']}.",
        "",
        "| side | images/s (least to most) | times one thread | communication, share of a step |",
        "|---|---|---|---|",
    ]
    for name, row in speeds.items():
        share = f"{100 * results['communication']['share']:.1f} %" if name.startswith("2") else ""
        spread = f"{row['median']:.1f} ({row['least']:.1f} to {row['most']:.1f})"
        lines.append(f"| {name} | {spread} | {row['median'] / base:.2f} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = machine.asks(__doc__, RESULTS)
    for name, default in (("size", 64), ("batch", 128), ("steps", 40), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = machine.answered(parser)
    if asked.table:
        print(table(json.loads(asked.json.read_text())))
        return
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory(prefix="ranks_") as scratch:
        folder = photographs.crops(Path(scratch, "pictures"), count=1024, side=128, suffix=".jpg")
        os.environ["SELFSIGHT_CACHE"] = f"{scratch}/cache"
        for turn in range(asked.rounds):
            for name in list(SIDES)[:: 1 if turn % 2 == 0 else -1]:
                speeds[name].append(trained(folder, scratch, asked, *SIDES[name]))
    seconds = talking(asked.batch)
    step = asked.batch / median(speeds["2 ranks, 1 thread each"])
    results = {
        "settings": {name: getattr(asked, name) for name in ("size", "batch", "steps", "rounds")},
        "images_per_second": {name: summary(values, 2) for name, values in speeds.items()},
        "communication": {"seconds": round(seconds, 4), "step": round(step, 4), "share": round(seconds / step, 4)},
    }
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
