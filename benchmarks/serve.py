"""The API of `selfsight browse` against `selfsight embed`: pictures per second with many clients at once.

    python benchmarks/serve.py --data FOLDER [--clients 64] [--seconds 20] [--rounds 3] [--json FILE]

ResNet-18 at 64 px, trained for one step: speed does not depend on how good it is. `embed` is its inner loop, files read
and decoded, on as many pictures as `--count` says. The server is a process of its own; the clients are another, on
the same cores, each with one connection on which it sends the next picture as soon as it has its answer: vector,
twelve neighbours. Both sides take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "serve.json"
LEAST = 0.8  # of embed's pictures per second
WARM = 3.0  # seconds before anything counts


def prepared(data: str, folder: Path) -> Path:
    """A run whose encoder is a ResNet-18 at 64 px, and the vectors of its pictures."""
    import selfsight
    from selfsight.searching.index import Index

    options: dict[str, Any] = {"encoder": "resnet18", "size": 64, "batch": 16, "precision": "fp32", "quiet": True}
    selfsight.train(data, method="simclr", length="1steps", use_all=True, out=folder, **options)
    Index.open(folder)
    return folder


def embedding(run: Path, count: int) -> float:
    """Pictures per second of `embed`."""
    import numpy as np

    from selfsight import Run
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import format_of
    from selfsight.embedding.embed import embed

    its, manifest = Run(run), Manifest.load(run / "manifest.parquet")
    rows = np.arange(count) % len(manifest)
    began = time.perf_counter()
    embed(its.encoder(), Pictures(manifest, format_of(its.recipe)), rows, size=64)
    return count / (time.perf_counter() - began)


def served(run: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Pictures per second, errors and the latencies of a server that runs for this."""
    words = [sys.executable, "-m", "selfsight", "browse", str(run), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = next(line for line in server.stdout if "http://" in line)
        port = int(told.partition("http://127.0.0.1:")[2].partition("/")[0])
        asked = [sys.executable, __file__, "--ask", str(port), str(run), str(clients), str(seconds)]
        found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    answered, errors, middle, late = map(float, found)
    figures = {"per_second": answered / seconds, "errors": int(errors), "p50_ms": middle, "p99_ms": late}
    return {**figures, "exit_code": server.returncode}


async def ask(port: int, pictures: list[bytes], clients: int, seconds: float) -> tuple[int, int, float, float]:
    """What the clients see: answers and errors after the warm-up, and the 50th and 99th percentile, ms."""
    taken: list[float] = []
    wrong = 0
    start = time.perf_counter() + WARM
    supply = itertools.cycle(pictures)

    async def client() -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < start + seconds:
            data = next(supply)
            head = f"POST /api/encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            if began >= start:
                taken.append(time.perf_counter() - began)
                wrong += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    taken.sort()
    return len(taken) - wrong, wrong, 1000 * taken[len(taken) // 2], 1000 * taken[int(len(taken) * 0.99)]


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    embed = [one["embed"] for one in results["rounds"]]
    serve = [one["serve"] for one in results["rounds"]]
    ratio = median(one["serve"]["per_second"] / one["embed"] for one in results["rounds"])
    errors = sum(one["errors"] for one in serve)
    reached = "yes" if ratio >= LEAST and not errors else "no"
    p50, p99 = (median(one[key] for one in serve) for key in ("p50_ms", "p99_ms"))
    return (
        f"ResNet-18, 64 px, {results['clients']} clients at once, {results['pictures']} pictures; "
        f"rounds: {len(results['rounds'])}.\n\n"
        "| embed, images/s | API, images/s | ratio | at least | errors | p50, ms | p99, ms | reached |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| {median(embed):.1f} | {median(one['per_second'] for one in serve):.1f} | {ratio:.2f} | {LEAST} | "
        f"{errors} | {p50:.0f} | {p99:.0f} | {reached} |"
    )


def main() -> None:
    """Measure round by round, going on where the file stops, and print the table."""
    if sys.argv[1:2] == ["--ask"]:
        port, run, clients, seconds = sys.argv[2:]
        from selfsight.data.manifest import Manifest

        pictures = [Path(path).read_bytes() for path in Manifest.load(Path(run) / "manifest.parquet").paths[:2000]]
        print(*asyncio.run(ask(int(port), pictures, int(clients), float(seconds))))
        return
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000)
    asked = machine.answered(parser, "data")
    results = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    if not asked.table:
        results |= {"clients": asked.clients, "rounds": results.get("rounds", [])}
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with tempfile.TemporaryDirectory() as place:
            run = prepared(str(asked.data), Path(place) / "run")
            for _ in range(asked.rounds - len(results["rounds"])):
                one = {"embed": embedding(run, asked.count), "serve": served(run, asked.clients, asked.seconds)}
                results["rounds"].append(one)
                results["pictures"] = asked.count
                machine.keep(asked.json, {key: value for key, value in results.items() if key != "machine"})
    print(table(results))


if __name__ == "__main__":
    main()
