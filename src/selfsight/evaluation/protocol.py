"""The whole table of `selfsight evaluate`: the encoder's row, the rows beside it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from selfsight.evaluation import cases, few, geometry, intervals, kept, knn, linear, retrieval, together
from selfsight.evaluation.task import Task, pose
from selfsight.evaluation.together import Sought
from selfsight.nn.whitening import Whitening

ENCODER = "encoder"
RIVALS = ("untrained", "raw_pixels", "simple_statistics", "bag_of_words")  # of those there are
START = "pretrained"  # and, where a run started from given weights, these
BESIDE = ("linear", "retrieval", "identity")  # verdicts beside the one on kNN
SHOTS = (1, 5, 10)  # labels per class of the few-label rows

Features = Float[np.ndarray, "N _"]
Views = tuple[Features, Features]


@dataclass(frozen=True)
class Row:
    """Everything measured of one row's features on one task."""

    knn: knn.Knn  # its `papers` are of plain vectors
    whitened: bool  # whether the rest of it is of whitened ones
    linear: linear.Linear
    few: tuple[few.Few, ...]


def evaluate(
    features: Mapping[str, Features],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    test: Bool[np.ndarray, "N"],
    classes: Sequence[str],
    *,
    white: Mapping[str, Whitening] | None = None,
    views: Mapping[str, Views] | None = None,
    view_groups: Int[np.ndarray, "M"] | None = None,
    rivals: Sequence[str] = RIVALS,
    shots: Sequence[int] = SHOTS,
    sought: Sought | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure every row on the same pictures and judge the encoder by the paired difference in kNN accuracy.

    `features` has "encoder" and any of "untrained", "raw_pixels", "simple_statistics", "pretrained", "published", in
    data order; the encoder is judged beside those named in `rivals`.
    Cosines are between vectors in the spaces of `spaces`, which `white` decides on.
    `labels` are indices into `classes`, -1 unlabelled; `test` marks the test part. `views` holds, per row of the table,
    the features of two views of the same M pictures, whose groups are `view_groups`. `sought` is what retrieval looks
    for, by default the label. Returns plain JSON values; `hard` has rows of `features` and what was said of them.
    Raises ValueError when "encoder" is missing or the lengths differ.
    """
    if ENCODER not in features:
        raise ValueError(f"features lack {ENCODER!r}; they have {sorted(features)}")
    if {len(rows) for rows in features.values()} != {len(labels)}:
        raise ValueError(f"{len(labels)} labels, but rows of features: { {k: len(v) for k, v in features.items()} }")
    task, sought = pose(labels, groups, test, classes), sought or Sought(labels)
    white = white or {}
    compared = {name: spaces(name, rows, white.get(name)) for name, rows in features.items()}
    gathered = _gathered(compared, labels, groups, test, sought, seed)
    apart, free = _told_apart(features, views or {}, white, view_groups, rivals, seed)
    beside = {name: gathered.rows[name] | {"label_free": free[name]} for name in features}
    also, notes = {}, []
    if sought.asked and gathered.right:
        also["identity"] = judge(sought.told(), gathered.right, gathered.units, rivals, seed)
    elif sought.asked:
        notes.append(f"Nothing was retrieved: no two pictures of the test part have the same {sought.by!r}.")
    if isinstance(task, str):
        alone = apart | {"measure": "two_views", "sentence": f"{task} {apart['sentence']}"}
        return _layout(beside, {"verdict": alone | also, "notes": [task, *notes]})
    large = linear.is_large((values.shape[1] for values in features.values()), len(task.classes))
    rows = {name: measure(values, compared[name], task, shots, seed, large) for name, values in features.items()}
    table = {name: _json(row, task, seed) | beside[name] for name, row in rows.items()}
    said = verdict(rows, task, rivals, seed) | {"retrieval": apart} | also
    own = rows[ENCODER].knn
    rest = {"classes": cases.classes(own, task, seed), "hard": cases.hard(own, task)}
    return _layout(table, {"task": task.summary(), "verdict": said, "notes": [*task.notes, *notes]} | rest)


def spaces(name: str, rows: Features, white: Whitening | None) -> tuple[Features, ...]:
    """The vectors of a row as cosines see them: those of the encoder as it is used, whitened or not; of any other row
    both, and each of its numbers is then the better one, so that no baseline is made weak.
    """
    if white is None:
        return (rows,)
    return (white(rows),) if name == ENCODER else (rows, white(rows))


def _gathered(
    features: Mapping[str, Sequence[Features]],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    test: Bool[np.ndarray, "N"],
    sought: Sought,
    seed: int,
) -> together.Found:
    """Retrieval and clustering among the test part, or among all pictures where there is none."""
    part = test if test.any() else ~test
    some = {name: [values[part] for values in its] for name, its in features.items()}
    return together.measure(some, labels[part], groups[part], sought.taking(part), seed)


def _told_apart(
    features: Mapping[str, Features],
    views: Mapping[str, Views],
    white: Mapping[str, Whitening],
    view_groups: Int[np.ndarray, "M"] | None,
    rivals: Sequence[str],
    seed: int,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The verdict on telling pictures apart, and what needs no label of every row."""
    free: dict[str, dict[str, Any]] = {name: kept.answer(geometry.label_free, rows) for name, rows in features.items()}
    found = {name: seen_again(name, pair, white.get(name)) for name, pair in views.items()}
    groups = np.arange(max(map(len, found.values()), default=0)) if view_groups is None else view_groups
    for name, right in found.items():
        free[name] |= _seen_again(right, views[name], groups, seed)
    return judge("finding a picture by another view of it (R@1)", found, groups, rivals, seed), free


def seen_again(name: str, views: Views, white: Whitening | None) -> Bool[np.ndarray, "M"]:
    """Whether the second view of each picture is the nearest to its first, in the best of the row's spaces."""
    pairs = zip(*(spaces(name, half, white) for half in views), strict=True)
    return max((retrieval.two_views(*pair) for pair in pairs), key=lambda right: right.sum())


def measure(
    features: Features, compared: Sequence[Features], task: Task, shots: Sequence[int], seed: int, large: bool
) -> Row:
    """The linear probe of one row's features, and kNN by the papers' fixed k and T; the other kNN and few labels, each
    in the best of the spaces `compared`."""

    def asked(measured: Callable[..., Any], kind: type, rows: Features, **options: int) -> Any:
        parts = (rows[task.train], task.train_labels, task.train_groups, rows[task.test], task.test_labels)
        return kept.answer(measured, *parts, seed=seed, types=(kind,), **options)

    def best(found: Sequence[Any]) -> Any:
        return max(found, key=lambda one: one.accuracy)

    near = [asked(knn.measure, knn.Knn, rows) for rows in compared]
    plain = near[0] if compared[0] is features else asked(knn.measure, knn.Knn, features)
    shown = tuple(best([asked(few.measure, few.Few, rows, shots=number) for rows in compared]) for number in shots)
    told = replace(best(near), papers=plain.papers)
    return Row(told, best(near) is not plain, asked(linear.measure, linear.Linear, features, large=large), shown)


def conclusions(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All in an evaluation that says whether training helped, each with its `sentence`."""
    verdict = found["verdict"]
    parts = [verdict, *map(verdict.get, BESIDE), found.get("finetune"), found.get("dense")]
    return [one for one in parts if one]


def verdict(rows: Mapping[str, Row], task: Task, rivals: Sequence[str] = RIVALS, seed: int = 0) -> dict[str, Any]:
    """Whether training helped to name the class: kNN accuracy, beside it the linear probe, and with few labels."""
    right = {name: row.knn.correct for name, row in rows.items()}
    found = judge("kNN accuracy", right, task.test_groups, rivals, seed)
    if "against" not in found:
        return found
    numbered = enumerate(rows[ENCODER].few)
    probed = {name: row.linear.correct for name, row in rows.items()}
    return found | {
        "measure": "knn",
        "linear": judge("linear probe accuracy", probed, task.test_groups, rivals, seed),
        "few": {str(one.shots): _few_gap(number, rows, task, rivals, seed) for number, one in numbered},
    }


def judge(
    what: str,
    right: Mapping[str, Bool[np.ndarray, "Q"]],
    groups: Int[np.ndarray, "Q"],
    rivals: Sequence[str] = RIVALS,
    seed: int = 0,
) -> dict[str, Any]:
    """Training helped if the 95 % interval of the paired difference to the best rival lies above 0.

    `right` holds, per row of the table, which of the same Q questions it answered rightly. `pairs` has the paired
    difference to every rival. Below six groups of questions the numbers are told and `helped` is None.
    """
    beside = {name: right[name] for name in rivals if name in right}
    if not beside or ENCODER not in right:
        return {"helped": None, "sentence": "Nothing was measured beside the encoder, so nothing can be said."}
    best = max(beside, key=lambda name: beside[name].mean())
    own, other = float(right[ENCODER].mean()), float(beside[best].mean())
    pairs = {name: _gap(right[ENCODER], its, groups, seed) for name, its in beside.items()}
    low, high = pairs[best]["difference_interval"]
    count = len(np.unique(groups))
    helped = low > 0 if count >= intervals.FEWEST else None
    said = {
        True: "Training helped",
        False: "Training is not shown to help on these pictures",
        None: f"There are too few test groups to say whether training helped ({count}, and {intervals.FEWEST} needed)",
    }[helped]
    sentence = (
        f"{said}: {what} {own:.3f} against {other:.3f} of the best baseline ({best.replace('_', ' ')}), "
        f"difference {own - other:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}."
    )
    return {
        "helped": helped,
        "sentence": sentence,
        "against": best,
        "difference": own - other,
        "interval": [low, high],
        "pairs": pairs,
    }


def _gap(
    own: Bool[np.ndarray, "Q"], other: Bool[np.ndarray, "Q"], groups: Int[np.ndarray, "Q"], seed: int
) -> dict[str, Any]:
    """By how much the one answers more of the same questions rightly than the other."""
    interval = intervals.of_difference(own, other, groups, seed=seed)
    return {"difference": float(own.mean() - other.mean()), "difference_interval": list(interval)}


def _few_gap(number: int, rows: Mapping[str, Row], task: Task, rivals: Sequence[str], seed: int) -> dict[str, Any]:
    """The same comparison with few labels, against the rival that is best at it. No part of the verdict."""
    beside = {name: rows[name].few[number] for name in rivals if name in rows}
    best = max(beside, key=lambda name: beside[name].accuracy)
    own = rows[ENCODER].few[number]
    draws = own.draws - beside[best].draws  # of the same labels
    interval = intervals.of_difference(own.right, beside[best].right, task.test_groups, draws=draws, seed=seed)
    return {"against": best, "difference": own.accuracy - beside[best].accuracy, "interval": list(interval)}


def _layout(table: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """The issue's shape: the encoder's numbers on top, every other row under `baselines`."""
    others = {name: row for name, row in table.items() if name != ENCODER}
    return {**table[ENCODER], "baselines": others, **rest}


def _json(row: Row, task: Task, seed: int) -> dict[str, Any]:
    """One row's accuracies, each with its interval and what was chosen for it."""
    return {
        "knn": _share(row.knn.correct, task, seed)
        | {"k": row.knn.k, "temperature": row.knn.temperature, "whitened": row.whitened}
        | {
            "papers": [
                {"k": k, "temperature": t} | _share(right, task, seed) for (k, t), right in row.knn.papers.items()
            ]
        },
        "linear": _share(row.linear.correct, task, seed)
        | {"decay": row.linear.decay, "converged": row.linear.converged},
        "few": {
            str(one.shots): _share(one.right, task, seed, one.draws)
            | {"draws": len(one.draws), "spread": float(one.draws.std(ddof=1)) if len(one.draws) > 1 else 0.0}
            for one in row.few
        },
    }


def _share(
    right: Shaped[np.ndarray, "Q"], task: Task, seed: int, draws: Float[np.ndarray, "R"] | None = None
) -> dict[str, Any]:
    interval = intervals.of_share(right, task.test_groups, draws=draws, seed=seed)
    return {"accuracy": float(right.mean()), "interval": list(interval)}


def _seen_again(right: Bool[np.ndarray, "M"], views: Views, groups: Int[np.ndarray, "M"], seed: int) -> dict[str, Any]:
    """How close two views of a picture lie, and how often one finds the other among all."""
    interval = intervals.of_share(right, groups, seed=seed)
    again = {"r_at_1": float(right.mean()), "interval": list(interval), "pictures": len(right)}
    return geometry.of_views(*views) | {"two_views": again}
