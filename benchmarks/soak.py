"""A training that is killed at random moments, again and again: is it the undisturbed one, and what did it cost?

    python benchmarks/soak.py [--minutes 60] [--every 120]

SimCLR with a ResNet-18 trains undisturbed for about half of the minutes; then the same command runs anew, is killed
with SIGKILL `--every` seconds apart in the mean and given again each time, until it ends. Effective time is the
undisturbed run's length over the killed one's. Both are whole processes of the command line, start-up included, and
save `--save-every` seconds: what a kill costs is the start-up and the work since the last save. On a machine that does
other things meanwhile the share says little; that the end is byte-identical holds all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
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
    given = f"--encoder resnet18 --size 64 --batch 32 --for {steps}steps --device cpu --precision fp32 --threads 1"
    rest = f"--workers 1 --save-every {save_every}s --method simclr --use-all --quiet --out {home / 'run'}"
    known = ["--config", str(plan)] if plan else []
    return [sys.executable, "-m", "selfsight", "train", str(pictures), *given.split(), *rest.split(), *known]


def started(line: list[str]) -> subprocess.Popen[bytes]:
    """A process of its own, and of its own session."""
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)


def straight(line: list[str], home: Path) -> float:
    """Seconds of a run that nobody disturbs."""
    victims.fresh(home)
    began = time.monotonic()
    if started(line).wait() != 0:
        raise SystemExit("the training failed")
    return time.monotonic() - began


def disturbed(line: list[str], home: Path, every: float, seed: int) -> dict[str, Any]:
    """The same, killed until it ends."""
    victims.fresh(home)
    draw, began, kills, whole, left = random.Random(seed), time.monotonic(), 0, 0, 0
    looking = 0.0
    while (code := killed(one := started(line), draw.uniform(0.5, 1.5) * every)) is None:
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
    rows = json.loads(asked.json.read_text())["rows"] if asked.json.exists() else []
    settings = {"minutes": asked.minutes, "every": asked.every, "save_every": asked.save_every}
    if not asked.table and not any(all(row[name] == value for name, value in settings.items()) for row in rows):
        with tempfile.TemporaryDirectory(prefix="soak_") as scratch:
            pictures, home = (
                photographs.crops(Path(scratch, "pictures"), count=PICTURES, side=SIDE),
                Path(scratch, "home"),
            )
            few = [straight(words(pictures, home, steps, asked.save_every), home) for steps in (TRIED, 2 * TRIED)]
            steps = max(2 * TRIED, round(30 * asked.minutes / (few[1] - few[0]) * TRIED))
            plan = Path(scratch, "recipe.yaml")
            plan.write_bytes((home / "run" / "recipe.yaml").read_bytes())
            line = words(pictures, home, steps, asked.save_every, plan)
            took = straight(line, home)
            expected = victims.newest(victims.content(home))
            row = {**settings, "steps": steps, "straight": took, **disturbed(line, home, asked.every, asked.seed)}
            found = victims.newest(victims.content(home))
            differs = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
            rows.append(row | {"identical": not differs, "differs": differs})
        machine.keep(asked.json, {"promises": {"R7": "; ".join(map(told, rows))}, "rows": rows})
    print(table({"rows": rows}))
    sys.exit(0 if all(map(passed, rows)) else 1)


if __name__ == "__main__":
    main()
