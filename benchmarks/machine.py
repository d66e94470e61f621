"""What figures were measured on, and the JSON files they are kept in. Every benchmark here uses it."""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("selfsight", "torch", "timm", "opencv-python-headless", "lightly")
MODULES = {"opencv-python-headless": "cv2"}


def facts() -> dict[str, Any]:
    """Processor, cores that this process may use, system, date, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": cores,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES if find_spec(MODULES.get(name, name))},
    }


def told(machine: dict[str, Any]) -> str:
    """What `facts` says, in a line."""
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    parts = [machine.get("date"), machine.get("processor"), cores, machine["platform"]]
    torch = machine.get("libraries", {}).get("torch")
    return ", ".join([part for part in parts if part] + ([f"torch {torch}"] if torch else []))


def rows_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of all parts of a result file."""
    return [one for part in results.values() if isinstance(part, list) for one in part if isinstance(one, dict)]


def before(file: Path) -> dict[str, Any]:
    """What a result file holds, each row with its machine: what is measured now may be measured on another."""
    found = json.loads(file.read_text()) if file.exists() else {}
    if known := found.pop("machine", None):
        name(found, known)
    return {"rows": [], **found}


def name(results: dict[str, Any], machine: dict[str, Any]) -> None:
    """Have each row that names no machine name this one."""
    for one in rows_of(results):
        one.setdefault("machine", told(machine))


def measured_on(results: dict[str, Any]) -> str:
    """A line about the machine of a result file, or about each that a row of it names."""
    named = sorted({one["machine"] for one in rows_of(results) if "machine" in one})
    return f"Measured: {'; '.join(named or [told(results['machine'])])}."


def processor() -> str:
    """The processor's own name where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def keep(file: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures and what they were measured on, in each row, too; nothing when no file is asked for."""
    if file is not None:
        name(figures, facts())
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.tmp")
        partial.write_text(json.dumps({"machine": facts(), **figures}, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)


def asks(story: str | None, results: Path) -> argparse.ArgumentParser:
    """The command line of a benchmark on image sets: where they are, and the result file, which is read as well."""
    parser = argparse.ArgumentParser(description=story, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="where the sets are")
    parser.add_argument("--json", type=Path, default=results, help="the result file, which is also read")
    parser.add_argument("--table", action="store_true", help="only print what is in the result file")
    return parser


def answered(parser: argparse.ArgumentParser, *needed: str) -> argparse.Namespace:
    """What the command line says; only a table needs nothing of `needed`."""
    asked = parser.parse_args()
    missing = [f"--{name}" for name in needed if getattr(asked, name) is None]
    if missing and not asked.table:
        parser.error(f"{' and '.join(missing)} must be given, unless --table only prints what is there")
    return asked
