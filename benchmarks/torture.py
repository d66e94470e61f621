"""The promises of docs/reliability.md, tried at length: kills, full disks, lost ranks, hostile files and requests.

    scripts/torture [PART ...] [--minutes 90] [--list]

Each part is a script of its own that writes its findings into benchmarks/results/ as it goes and skips what is there,
so a call that was stopped is given again; take the file away to begin anew. The first broken promise ends it with exit
code 1. With `--minutes` no part begins anything new after its share of them. docs/pages.py then writes the page anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PYTEST = "-m pytest -n 0"


class Part(NamedTuple):
    """What Python is given, whether that takes `--minutes`, and what it is."""

    words: str
    timed: bool
    story: str


KILLSWEEP, STOPS = "benchmarks/killsweep.py --points 50", "benchmarks/stops.py --only"
RANKS = "killed_rank_0 killed_rank_1 frozen_rank_0 frozen_rank_1"
PARTS = {
    "kill": Part(f"{KILLSWEEP} --modes time chain", True, "killed at random moments, once and in chains"),
    "calls": Part(f"{KILLSWEEP} --modes syscall error", True, "killed at, and refused, system calls (strace)"),
    "commands": Part(f"{PYTEST} tests/test_killed_commands.py", False, "embed, pack, export, compare at every change"),
    "stops": Part(f"{STOPS} terminate usr1 interrupt interrupt_twice frozen second_process", True, "signals, locks"),
    "full-disk": Part(
        f"{STOPS} full_disk small_temporary small_shared_memory", True, "small disks, mounted (needs root)"
    ),
    "ranks": Part(f"{STOPS} {RANKS}", True, "one of two ranks is killed or stands still"),
    "saving": Part(f"{STOPS} saving", True, "what saving costs"),
    "soak": Part("benchmarks/soak.py", True, "a training killed every two minutes, for an hour"),
    "dirty": Part("benchmarks/dirty.py", False, "a hostile folder, in every command"),
    "files": Part("benchmarks/listing.py", False, "a million files, 4 GB in the temporary folder"),
    "hostile": Part("benchmarks/hostile.py", False, "files of strangers, by time and memory"),
    "fuzz": Part("benchmarks/fuzz.py --minutes 60", True, "spoiled files, for an hour"),
    "http": Part("benchmarks/attacks.py", False, "hostile requests to the server of browse"),
}


def main() -> None:
    """Run the parts; the exit code of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="by default all; see --list")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--minutes", type=float, help="for all parts together")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:10} {part.story}" for name, part in PARTS.items()))
        return
    if unknown := [name for name in asked.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    chosen = {name: PARTS[name] for name in asked.parts or PARTS}
    for name, part in chosen.items():
        print(f"-- {name}: {part.story}", flush=True)
        share = ["--minutes", str(asked.minutes / len(chosen))] if asked.minutes and part.timed else []
        code = subprocess.run([sys.executable, *part.words.split(), *share], cwd=HERE.parent, check=False).returncode
        if code:
            sys.exit(f"torture: {name} found a broken promise (exit code {code}); what it saw stands above")


if __name__ == "__main__":
    main()
