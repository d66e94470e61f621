"""The generated lines of docs/cookbook.md, each from the figures of another benchmark that are in the repository."""

from __future__ import annotations

from collections import Counter
from typing import Any

import quality

SETS = (1_000, 5_000, 20_000, 100_000)  # pictures
TIMES = {"10 minutes": 600, "an hour": 3_600, "a night of 8 hours": 28_800}
BASELINES = quality.ROWS[1:]
FEW = {"1": "1 label a class", "5": "5 labels a class", "10": "10 labels a class"}


def seen(results: dict[str, Any]) -> str:
    """How often a run of a certain time sees each picture, from end_to_end.py."""
    row = next(one for one in results["rows"] if (one["encoder"], one["size"]) == ("resnet18", 64))
    speed = row["images_per_second"]["ours"]["median"]
    lines = [["training pictures", *TIMES], ["---"] * (len(TIMES) + 1)]
    lines += [
        [f"{count:,}", *(f"{speed * seconds / count:,.1f} times" for seconds in TIMES.values())] for count in SETS
    ]
    what = f"{row['encoder']}, {row['size']} px, batch {row['batch']}, {row['threads']} threads: {speed:.0f} images/s."
    return f"{what} So each picture is seen\n\n{lined(lines)}"


def worth(results: dict[str, Any]) -> str:
    """Whether a short training was shown to help, and what was best without, from quality.py."""
    rows = results["rows"]
    lines = [["pictures", "trained on", "seen", "best trained, kNN", "best without training, kNN", "shown to help"]]
    lines.append(["---"] * len(lines[0]))
    for task in dict.fromkeys(one["task"] for one in rows):
        alike = [one for one in rows if one["task"] == task]
        best = max(alike, key=lambda one: one["scores"]["encoder"]["kNN"]["accuracy"])
        scores = {kind: best["scores"][kind]["kNN"]["accuracy"] for kind in quality.ROWS}
        other = max(BASELINES, key=lambda kind: scores[kind])
        shown = sum(bool(one["verdict"]["helped"]) for one in alike)
        trained = f"{scores['encoder']:.3f} (`{best['method']}`)"
        counts = [f"{best['sizes']['train']:,}", f"{best['recipe']['steps'] * best['recipe']['batch']:,}"]
        cells = [trained, f"{scores[other]:.3f} ({other.replace('_', ' ')})", f"{shown} of {len(alike)} runs"]
        lines.append([quality.TASKS[task].told, *counts, *cells])
    helped = sum(bool(one["verdict"]["helped"]) for one in rows)
    against = Counter(one["verdict"]["against"].replace("_", " ") for one in rows)
    rivals = ", ".join(f"{name} in {count}" for name, count in against.most_common())
    return f"{lined(lines)}\n\nShown to help in {helped} of {len(rows)} runs. The best without training: {rivals}."


def few(results: dict[str, Any]) -> str:
    """How many of the same runs were shown to help where there are few labels, from quality.py."""
    lines = [["pictures", *FEW.values()], ["---"] * (len(FEW) + 1)]
    for task in dict.fromkeys(one["task"] for one in results["rows"]):
        told = [one["verdict"]["few"] for one in results["rows"] if one["task"] == task]
        cells = [f"{sum(one[n]['interval'][0] > 0 for one in told)} of {len(told)} runs" for n in FEW]
        lines.append([quality.TASKS[task].told, *cells])
    return lined(lines)


def lined(lines: list[list[str]]) -> str:
    """Rows of cells as Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
