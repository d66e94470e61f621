"""How fast does `--help` answer, and does it stay clear of torch?

    python benchmarks/start_up.py [--runs 5] [--json FILE]

For `selfsight --help` and `selfsight COMMAND --help` of every command: the median wall time of `--runs` new processes
after one that warms the disk cache, and whether torch is in `sys.modules` when the command line has answered.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine

TARGET = 0.3  # seconds, warm
TORCH = """
import sys
from selfsight import cli
code = cli.main(sys.argv[1:])
sys.exit(code or 3 * ("torch" in sys.modules))
"""


def program() -> list[str]:
    """The installed `selfsight` of this Python."""
    script = Path(sys.executable).with_name("selfsight")
    return [str(script)] if script.exists() else [sys.executable, "-m", "selfsight"]


def seconds(arguments: list[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run([*program(), *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def loads_torch(arguments: list[str]) -> bool:
    """Whether torch was imported on the way to the answer."""
    code = subprocess.run([sys.executable, "-c", TORCH, *arguments], capture_output=True, check=False).returncode
    if code not in (0, 3):
        raise SystemExit(f"selfsight {' '.join(arguments)} failed with exit code {code}")
    return code == 3


def measure(runs: int) -> dict[str, dict[str, Any]]:
    """The figures of every command; the empty name is `selfsight --help` itself."""
    from selfsight.cli import COMMANDS

    found = {}
    for command in ("", *COMMANDS):
        arguments = [*([command] if command else []), "--help"]
        seconds(arguments)
        times = [seconds(arguments) for _ in range(runs)]
        figures = {"seconds": round(median(times), 3), "most": round(max(times), 3), "torch": loads_torch(arguments)}
        found[command] = {**figures, "reached": median(times) <= TARGET and not figures["torch"]}
    return found


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| command | median, s | slowest, s | imports torch | at most | reached |", "|---|---|---|---|---|---|"]
    for command, row in results["commands"].items():
        name = " ".join(filter(None, ("selfsight", command, "--help")))
        torch, reached = ("yes" if row[key] else "no" for key in ("torch", "reached"))
        lines.append(f"| `{name}` | {row['seconds']:.2f} | {row['most']:.2f} | {torch} | {TARGET:.1f} | {reached} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    results = {"commands": measure(asked.runs)}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
