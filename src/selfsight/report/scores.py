"""Accuracies with their intervals as one inline SVG: a dot where the score is, a bar where it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from selfsight.report.curves import ticks
from selfsight.report.words import NAMES, percent

WIDTH, LEFT, RIGHT, TOP = 980, 230, 30, 30
ROW, GAP = 22, 16  # height of a task's line and space between encoders, pixels


def contenders(numbers: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """This run's scores first, then every baseline's: {encoder: {task: {"accuracy", "interval"}}}.

    Tasks are knn, linear, few.1 (one label a class), ..., and two_views (found among others by another view).
    """
    baselines = {name: scores for name, scores in dict(numbers.get("baselines") or {}).items() if scores}
    return {name: _tasks(scores) for name, scores in {"trained": numbers, **baselines}.items()}


def unlabelled(numbers: Mapping[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """What needs no labels: whose values they are, and for each measure a value of each or None where it cannot be."""
    rows = {"trained": numbers, **dict(numbers.get("baselines") or {})}
    found = {name: dict((scores or {}).get("label_free") or {}) for name, scores in rows.items()}
    found = {name: {k: v for k, v in own.items() if isinstance(v, int | float)} for name, own in found.items() if own}
    measures = dict.fromkeys(measure for own in found.values() for measure in own)
    return list(found), {measure: [own.get(measure) for own in found.values()] for measure in measures}


AGREEMENT = ("Spearman", "95 % interval", "Kendall's tau", "95 % interval")  # heads of what `agreements` tells


def agreements(numbers: Mapping[str, Any]) -> dict[str, list[str]]:
    """How well each score without labels ranked the looks of the run: rank correlations and intervals, where known."""
    found = dict(dict(numbers.get("trust") or {}).get("measures") or {})
    return {
        name: [*_correlated(one, "spearman", "interval"), *_correlated(one, "kendall", "kendall_interval")]
        for name, one in found.items()
        if one.get("interval")
    }


def _correlated(one: Mapping[str, Any], value: str, ends: str) -> tuple[str, str]:
    return (f"{one[value]:+.2f}", "{:+.2f} to {:+.2f}".format(*one[ends])) if one.get(ends) else ("", "")


def trusted(numbers: Mapping[str, Any]) -> str:
    """The same in words; nothing where nothing can be said."""
    return str(dict(numbers.get("trust") or {}).get("sentence") or "")


def named(task: str) -> str:
    """The task as people read it."""
    shots = task.removeprefix("few.")
    few = f"{shots} label{'' if shots == '1' else 's'} a class"
    return NAMES.get(task, task) if shots == task else few


def _tasks(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    tasks = {task: scores[task] for task in ("knn", "linear") if scores.get(task)}
    tasks |= {f"few.{shots}": score for shots, score in dict(scores.get("few") or {}).items()}
    pair = dict(scores.get("label_free") or {}).get("two_views")
    return tasks | ({"two_views": {"accuracy": pair["r_at_1"], "interval": pair.get("interval")}} if pair else {})


def whiskers(contenders: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> str:
    """A chart of encoder x task; `contenders[name][task]` is {"accuracy", "interval"}. Nothing without scores."""
    rows = [(name, [task for task in tasks if scores.get(task)]) for name, scores in contenders.items()]
    rows = [(name, present) for name, present in rows if present]
    ends = [end for name, present in rows for task in present for end in _span(contenders[name][task])]
    if not ends:
        return ""
    marks = [tick for tick in ticks(max(0.0, min(ends) - 0.02), min(1.0, max(ends) + 0.02)) if -0.001 <= tick <= 1.001]
    height = TOP + sum(len(present) * ROW + GAP for _, present in rows) + 8
    parts = [_grid(marks, height)]
    y = float(TOP + GAP)
    for name, present in rows:
        middle = y + (len(present) - 1) * ROW / 2
        weight = ' font-weight="650"' if name == "trained" else ""
        text = escape(NAMES.get(name, name))
        parts.append(f'<text class="name" x="{LEFT - 18}" y="{middle + 4:.1f}" text-anchor="end"{weight}>{text}</text>')
        for task in present:
            parts.append(_mark(contenders[name][task], task, tasks.index(task) + 1, y, marks))
            y += ROW
        y += GAP
    label = "Scores with 95 % intervals"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _span(score: Mapping[str, Any]) -> tuple[float, float]:
    low, high = score.get("interval") or (score["accuracy"], score["accuracy"])
    return float(low), float(high)


def _place(value: float, marks: Sequence[float]) -> float:
    return LEFT + (value - marks[0]) / ((marks[-1] - marks[0]) or 1.0) * (WIDTH - LEFT - RIGHT)


def _grid(marks: Sequence[float], height: float) -> str:
    parts = []
    for value in marks:
        x = _place(value, marks)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 6}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{TOP - 14}" text-anchor="middle">{100 * value:g} %</text>')
    return "".join(parts)


def _mark(score: Mapping[str, Any], task: str, colour: int, y: float, marks: Sequence[float]) -> str:
    low, high = (_place(end, marks) for end in _span(score))
    x = _place(float(score["accuracy"]), marks)
    tip = escape(f"{named(task)}: {percent(score['accuracy'])}")
    bar = f'<line class="bar c{colour}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'<g><title>{tip}</title>{bar}<circle class="dot c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="5"/></g>'
