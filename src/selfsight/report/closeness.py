"""Retrieval, clustering and the weakest classes as tables: the same rows for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selfsight.report.parts import Cell, Part
from selfsight.report.words import NAMES, interval, percent

SHARES = ("r_at_1", "r_at_5", "r_at_10", "map_at_r", "r_precision", "accuracy")  # shown in per cent
HEADS = {
    "retrieval": {
        "r_at_1": "R@1",
        "r_at_5": "R@5",
        "r_at_10": "R@10",
        "map_at_r": "mAP@R",
        "r_precision": "R-precision",
    },
    "clustering": {"accuracy": "accuracy", "nmi": "NMI", "ami": "AMI", "ari": "ARI"},
}
WEAKEST = 8  # classes that are shown


def parts(evaluation: Mapping[str, Any]) -> Iterator[Part]:
    """What was measured of it."""
    if fixed := _papers(evaluation):
        words = (
            "kNN of plain vectors with fixed k and T, to compare with published numbers; above, k and T are chosen on "
            "training pictures, and vectors may be whitened. With 95 % intervals."
        )
        rows = [
            (name, [(percent(one["accuracy"]), interval(one["interval"])) for one in _papers(row)])
            for name, row in _rows(evaluation)
        ]
        yield Part("Nearest neighbours as papers measure them", words, ["", *map(_pair, fixed)], rows)
    if found := evaluation.get("retrieval"):
        sought = f"the same {found['by']}"
        among = f"those of another {found['across']}" if found.get("across") else "all others"
        words = (
            f"Each test picture searches {among} by cosine for {sought}. R@k: one of the first k is right. R-precision "
            "and mAP@R look at as many places as there are right ones. With 95 % intervals."
        )
        skipped = f" {found['skipped']} have no right answer and were not asked." if found["skipped"] else ""
        yield Part("Retrieval", words, *_compared(evaluation, "retrieval"), [f"{found['queries']} queries.{skipped}"])
    if found := evaluation.get("clustering"):
        words = (
            f"k-means finds {found['clusters']} clusters, as many as there are classes, among {found['pictures']} test "
            "pictures. Accuracy is that of the best one-to-one map of clusters to classes; NMI, AMI and ARI are 1 "
            "where both agree, and AMI and ARI 0 where they agree by chance."
        )
        yield Part("Clustering", words, *_compared(evaluation, "clustering"))
    if found := evaluation.get("classes"):
        words = (
            "Accuracy of nearest neighbours in the classes where it is lowest, and what the wrong ones were said to be."
        )
        rows = [(one["label"], _class(one)) for one in found[:WEAKEST]]
        yield Part("Weakest classes", words, ["class", "accuracy", "pictures", "mostly said to be"], rows, own=False)


def brief(evaluation: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """The numbers of retrieval and clustering that are asked for first, for the terminal: heads and rows."""
    heads = [""]
    rows: dict[str, list[str]] = {}
    for kind, keys in (("retrieval", ("r_at_1", "map_at_r")), ("clustering", ("accuracy", "nmi"))):
        if evaluation.get(kind):
            heads += [f"{kind} {HEADS[kind][key]}" for key in keys]
            for name, row in _rows(evaluation):
                cells = [_cell(key, (row.get(kind) or {}).get(key)) for key in keys]
                rows.setdefault(name, []).extend("  ".join(cell).strip() for cell in cells)
    return heads, [(name, *cells) for name, cells in rows.items()]


def weakest(evaluation: Mapping[str, Any]) -> str:
    """The three weakest classes in one sentence."""
    some = [
        f"{one['label']} {percent(one['accuracy'])} of {one['pictures']}" for one in evaluation.get("classes") or []
    ]
    return f"Weakest classes: {', '.join(some[:3])}." if len(some) > 3 else ""


def as_papers(evaluation: Mapping[str, Any]) -> str:
    """This run's kNN as papers measure it, in one sentence."""
    told = [f"{percent(one['accuracy'])} ({_pair(one)})" for one in _papers(evaluation)]
    return f"kNN of this run by plain vectors and the papers' fixed k and T: {', '.join(told)}." if told else ""


def _papers(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of plain vectors; an evaluation that does not say `whitened` has them of whitened ones."""
    found = row.get("knn") or {}
    return list(found["papers"]) if "whitened" in found else []


def _pair(one: Mapping[str, Any]) -> str:
    return f"k {one['k']}, T {one['temperature']:g}"


def _rows(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, row in {"trained": evaluation, **(evaluation.get("baselines") or {})}.items():
        if row:
            yield NAMES.get(name, name), row


def _compared(evaluation: Mapping[str, Any], kind: str) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Heads, and this run beside what was not trained here."""
    rows = [
        (name, [_cell(key, (row.get(kind) or {}).get(key)) for key in HEADS[kind]]) for name, row in _rows(evaluation)
    ]
    return ["", *HEADS[kind].values()], rows


def _cell(key: str, one: Mapping[str, Any] | None) -> Cell:
    if not one:
        return "", ""
    if key in SHARES:
        return percent(one["value"]), interval(one["interval"])
    low, high = one["interval"]
    return f"{one['value']:.3f}", f"{low:.3f} to {high:.3f}"


def _class(one: Mapping[str, Any]) -> list[Cell]:
    return [(percent(one["accuracy"]), interval(one["interval"])), (str(one["pictures"]), ""), (one["said"] or "", "")]
