"""What a run's own files say of its time: true seconds, and quality against them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def seconds(run: Path) -> float:
    """Of training and looking, over all stages and all starts; steps that a kill undid are not in it."""
    return sum(clock(stage)[-1][1] for stage in stages(run) if clock(stage))


def curve(run: Path) -> list[tuple[float, float]]:
    """(seconds, quality) at each look of the monitor; what was trained before comes first."""
    before = seconds(run) - (clock(run)[-1][1] if clock(run) else 0.0)
    when = dict(clock(run))
    looks = {entry["step"]: entry["quality"] for entry in lines(run / "metrics.jsonl") if "quality" in entry}
    return [(before + when[step], quality) for step, quality in looks.items() if step in when]


def warnings(run: Path) -> Iterator[tuple[str, str]]:
    """When, and what methods said before training or the guard in it; of all stages, in the order of training."""
    for stage in reversed(stages(run)):
        which = "" if stage == run else f"{stage.name}, "
        for line in lines(stage / "metrics.jsonl"):
            if "sentence" in line:
                yield which + (f"step {line['step']}" if line["step"] else "before training"), str(line["sentence"])


def clock(run: Path) -> list[tuple[int, float]]:
    """(step, seconds since step 0) at each look and save."""
    return [(int(entry["step"]), float(entry["seconds"])) for entry in lines(run / "timing.jsonl")]


def stages(run: Path) -> list[Path]:
    """The run's folder and those of what was trained before it."""
    return [run, *(stage for inside in sorted(run.glob("stages/*")) for stage in stages(inside))]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """One JSON object a line; a last line that a kill tore is left out."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            yield json.loads(line)
        except ValueError:
            return
