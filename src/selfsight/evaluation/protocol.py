"""The whole table of `selfsight evaluate`: the encoder's row, the rows beside it, and the verdict (design.md 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from selfsight.evaluation import few, geometry, intervals, knn, linear, retrieval
from selfsight.evaluation.task import Task, pose

ENCODER = "encoder"
RIVALS = ("untrained", "raw_pixels", "simple_statistics")  # what training must beat (design.md section 5)
SHOTS = (1, 5, 10)  # labels per class of the few-label rows

Features = Float[np.ndarray, "N _"]
Views = tuple[Features, Features]


@dataclass(frozen=True)
class Row:
    """Everything measured of one row's features on one task."""

    knn: knn.Knn
    linear: linear.Linear
    few: tuple[few.Few, ...]


def evaluate(
    features: Mapping[str, Features],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    test: Bool[np.ndarray, "N"],
    classes: Sequence[str],
    *,
    views: Mapping[str, Views] | None = None,
    shots: Sequence[int] = SHOTS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure every row on the same pictures and judge the encoder by the paired difference in kNN accuracy.

    `features` has "encoder" and any of "untrained", "raw_pixels", "simple_statistics", "pretrained", in data order.
    `labels` are indices into `classes`, -1 unlabelled; `test` marks the test part. `views` holds, per row of the table,
    the features of two views of the same M pictures. Returns plain JSON values; the keys are the issue's.
    Raises ValueError when "encoder" is missing or the lengths differ.
    """
    if ENCODER not in features:
        raise ValueError(f"features lack {ENCODER!r}; they have {sorted(features)}")
    if {len(rows) for rows in features.values()} != {len(labels)}:
        raise ValueError(f"{len(labels)} labels, but rows of features: { {k: len(v) for k, v in features.items()} }")
    task = pose(labels, groups, test, classes)
    seen = views or {}
    free = {name: _label_free(rows, seen.get(name), seed) for name, rows in features.items()}
    if isinstance(task, str):
        table: dict[str, Any] = {name: {"label_free": free[name]} for name in features}
        return _layout(table, {"verdict": _silent(task, free), "notes": [task]})
    rows = {name: measure(values, task, shots, seed) for name, values in features.items()}
    table = {name: _json(row, task, seed) | {"label_free": free[name]} for name, row in rows.items()}
    return _layout(table, {"task": task.summary(), "verdict": verdict(rows, task, seed), "notes": list(task.notes)})


def measure(features: Features, task: Task, shots: Sequence[int], seed: int) -> Row:
    """kNN, linear probe and few labels of one row's features."""
    train, test = features[task.train], features[task.test]
    known, asked = (train, task.train_labels, task.train_groups), (test, task.test_labels)
    return Row(
        knn.measure(*known, *asked, seed=seed),
        linear.measure(*known, *asked, seed=seed),
        tuple(few.measure(*known, *asked, shots=number, seed=seed) for number in shots),
    )


def verdict(rows: Mapping[str, Row], task: Task, seed: int = 0) -> dict[str, Any]:
    """Whether training helped: the 95 % interval of the paired difference to the best rival lies above 0."""
    own = rows[ENCODER].knn
    rivals = {name: rows[name].knn for name in RIVALS if name in rows}
    if not rivals:
        return {"helped": None, "sentence": "Nothing was measured beside the encoder, so nothing can be said."}
    best = max(rivals, key=lambda name: rivals[name].accuracy)
    low, high = intervals.of_difference(own.correct, rivals[best].correct, task.test_groups, seed=seed)
    helped = low > 0
    said = "Training helped" if helped else "Training is not shown to help on these pictures"
    name = best.replace("_", " ")
    gap = own.accuracy - rivals[best].accuracy
    sentence = (
        f"{said}: kNN accuracy {own.accuracy:.3f} against {rivals[best].accuracy:.3f} of the best baseline ({name}), "
        f"difference {gap:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}."
    )
    return {
        "helped": helped,
        "sentence": sentence,
        "measure": "knn",
        "against": best,
        "difference": gap,
        "interval": [low, high],
        "few": {str(one.shots): _few_gap(number, rows, task, seed) for number, one in enumerate(rows[ENCODER].few)},
    }


def _few_gap(number: int, rows: Mapping[str, Row], task: Task, seed: int) -> dict[str, Any]:
    """The same comparison with few labels, against the rival that is best at it. No part of the verdict."""
    rivals = {name: rows[name].few[number] for name in RIVALS if name in rows}
    best = max(rivals, key=lambda name: rivals[name].accuracy)
    own = rows[ENCODER].few[number]
    interval = intervals.of_difference(own.right, rivals[best].right, task.test_groups, seed=seed)
    return {"against": best, "difference": own.accuracy - rivals[best].accuracy, "interval": list(interval)}


def _silent(reason: str, free: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The verdict without labels: what the views say, and that it is no proof."""
    found = [
        f"{name.replace('_', ' ')} {row['two_views']['r_at_1']:.3f}" for name, row in free.items() if "two_views" in row
    ]
    beside = f" R@1 of two views: {', '.join(found)}." if found else ""
    return {"helped": None, "sentence": f"{reason} Whether training helped cannot be shown without them.{beside}"}


def _layout(table: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """The issue's shape: the encoder's numbers on top, every other row under `baselines`."""
    others = {name: row for name, row in table.items() if name != ENCODER}
    return {**table[ENCODER], "baselines": others, **rest}


def _json(row: Row, task: Task, seed: int) -> dict[str, Any]:
    """One row's accuracies, each with its interval and what was chosen for it."""
    return {
        "knn": _share(row.knn.correct, task, seed)
        | {"k": row.knn.k, "temperature": row.knn.temperature}
        | {
            "papers": [
                {"k": k, "temperature": t} | _share(right, task, seed) for (k, t), right in row.knn.papers.items()
            ]
        },
        "linear": _share(row.linear.correct, task, seed)
        | {"decay": row.linear.decay, "converged": row.linear.converged},
        "few": {
            str(one.shots): _share(one.right, task, seed)
            | {"draws": len(one.draws), "spread": float(one.draws.std(ddof=1)) if len(one.draws) > 1 else 0.0}
            for one in row.few
        },
    }


def _share(right: Shaped[np.ndarray, "Q"], task: Task, seed: int) -> dict[str, Any]:
    interval = intervals.of_share(right, task.test_groups, seed=seed)
    return {"accuracy": float(right.mean()), "interval": list(interval)}


def _label_free(features: Features, views: Views | None, seed: int) -> dict[str, Any]:
    """Numbers of the cloud; with two views also their alignment and R@1."""
    measured: dict[str, Any] = dict(geometry.label_free(features))
    if views is not None:
        right = retrieval.two_views(*views)
        interval = intervals.of_share(right, np.arange(len(right)), seed=seed)
        measured["alignment"] = geometry.alignment(*views)
        measured["two_views"] = {"r_at_1": float(right.mean()), "interval": list(interval), "pictures": len(right)}
    return measured
