"""A training that is killed at random moments, again and again: is it the undisturbed one, and what did it cost?

    python benchmarks/soak.py [--minutes 60] [--every 120]

SimCLR as it trains by default on a processor runs twice at the same time, on a core each, so that what the machine
does meanwhile concerns both: once undisturbed, for about these minutes, and once killed with SIGKILL `--every`
seconds apart in the mean and given again each time, until it ends. Effective time is the undisturbed run's length
over the killed one's. Both are whole processes of the command line, start-up included, and save every `--save-every`
seconds: what a kill costs is the start-up and the work since the last save; what saving costs, both pay (`stops.py`
measures it).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import machine
import photographs
import victims

RESULTS = Path(__file__).with_name("results") / "soak.json"
AIM = 0.97  # of the time is effective
PICTURES, SIDE, TRIED = 512, 64, 40  # steps by which the speed is found


def words(pictures: Path, home: Path, steps: int, save_every: float, plan: Path | None = None) -> list[str]:
    """The training; what is decided by measuring is taken from `plan`, so that two trainings have it alike."""
    given = f"--method simclr --size 64 --for {steps}steps --device cpu --precision fp32 --threads 1 --workers 1"
    rest = f"--save-every {save_every}s --use-all --quiet --out {home / 'run'}"
    known = ["--config", str(plan)] if plan else []
    return [sys.executable, "-m", "selfsight", "train", str(pictures), *given.split(), *rest.split(), *known]


def started(line: list[str], core: int) -> subprocess.Popen[bytes]:
    """A process of its own session, on one core."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
    os.sched_setaffinity(process.pid, {core})
    return process


def straight(line: list[str], home: Path, core: int) -> float:
    """Seconds of a run that nobody disturbs."""
    victims.fresh(home)
    began = time.monotonic()
    if started(line, core).wait() != 0:
        raise SystemExit("the training failed")
    return time.monotonic() - began


def disturbed(line: list[str], home: Path, core: int, every: float, seed: int) -> dict[str, Any]:
    """The same, killed until it ends."""
    victims.fresh(home)
    draw, began, kills, whole, left = random.Random(seed), time.monotonic(), 0, 0, 0
    looking = 0.0
    while (code := killed(one := started(line, core), draw.uniform(0.5, 1.5) * every)) is None:
        paused = time.monotonic()
        kills, whole, left = kills + 1, whole + victims.whole(home / "run"), left + victims.left(one.pid)
        looking += time.monotonic() - paused
    if code != 0:
        raise SystemExit("the training failed")
    return {"kills": kills, "whole": whole, "left": left, "seconds": time.monotonic() - began - looking}


def killed(process: subprocess.Popen[bytes], after: float) -> int | None:
    """Kill it and all that it started after so many seconds; its exit code where it had ended before."""
    try:
        return process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def soaked(scratch: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Both trainings, their lengths, and in what their ends differ."""
    pictures, homes = photographs.crops(scratch / "pictures", count=PICTURES, side=SIDE), (scratch / "a", scratch / "b")
    cores = sorted(os.sched_getaffinity(0))[:2]
    plan, saves = scratch / "recipe.yaml", asked.save_every

    def both(steps: int) -> float:
        lines = [words(pictures, home, steps, saves) for home in homes]
        return max(pool.map(straight, lines, homes, cores))

    with ThreadPoolExecutor(2) as pool:
        few = both(TRIED), both(2 * TRIED)
        steps = max(2 * TRIED, round(60 * asked.minutes / (few[1] - few[0]) * TRIED))
        plan.write_bytes((homes[0] / "run" / "recipe.yaml").read_bytes())
        first, second = (words(pictures, home, steps, saves, plan) for home in homes)
        calm = pool.submit(straight, first, homes[0], cores[0])
        hurt = disturbed(second, homes[1], cores[1], asked.every, asked.seed)
        took = calm.result()
    expected, found = (victims.newest(victims.content(home)) for home in homes)
    differs = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
    return {"steps": steps, "straight": took, **hurt, "identical": not differs, "differs": differs}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| steps | saved every | killed every | kills | checkpoint whole | byte-identical | undisturbed | with kills |"
    ]
    lines[0] += " effective time | at least | reached |"
    lines.append("|" + "---|" * 11)
    for row in results["rows"]:
        share = row["straight"] / row["seconds"]
        same = "yes" if row["identical"] else "no"
        rate = f"{row['save_every']:g} s | {row['every']:g} s"
        lines.append(
            f"| {row['steps']} | {rate} | {row['kills']} | {row['whole']} | {same} | "
            f"{row['straight']:.0f} s | {row['seconds']:.0f} s | {share:.1%} | {AIM:.0%} | "
            f"{'yes' if share >= AIM else 'no'} |"
        )
    return "\n".join(lines)


def told(row: dict[str, Any]) -> str:
    """One row for docs/reliability.md."""
    same = "" if row["identical"] else "NOT "
    return (
        f"{row['kills']} kills in {row['seconds'] / 60:.0f} minutes, one in {row['every']:g} s: {same}byte-identical "
        f"in the end, {row['straight'] / row['seconds']:.0%} of the time effective (aim: {AIM:.0%} at one in 120 s)"
    )


def passed(row: dict[str, Any]) -> bool:
    """Whether nothing was lost; the share of time is a figure of the machine, and told."""
    return bool(row["identical"] and row["whole"] == row["kills"] and not row["left"])


def main() -> None:
    """Soak, keep the row, print the table; exit 1 when the end differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=120, help="seconds between two kills, in the mean")
    parser.add_argument("--save-every", type=float, default=10, help="seconds between two saves")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS, help="the result file, which is also read")
    parser.add_argument("--table", action="store_true", help="only print what is in the result file")
    asked = parser.parse_args()
    rows = machine.before(asked.json)["rows"]
    settings = {"minutes": asked.minutes, "every": asked.every, "save_every": asked.save_every}
    if not asked.table and not any(all(row[name] == value for name, value in settings.items()) for row in rows):
        with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
            rows.append(settings | soaked(Path(scratch), asked))
        machine.keep(asked.json, {"promises": {"R7": "; ".join(map(told, rows))}, "rows": rows})
    print(table({"rows": rows}))
    sys.exit(0 if all(map(passed, rows)) else 1)


if __name__ == "__main__":
    main()
