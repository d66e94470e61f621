"""Do cosines between whitened vectors find more than those between vectors as they are, and how much to whiten?

    python benchmarks/whitening.py --data DIR [--tasks ...] [--json FILE]
    python benchmarks/whitening.py --table

On the test part: kNN accuracy (k and T chosen inside the training part), and by retrieval of pictures of the same class
R@1, the share of right ones among the ten nearest, and mAP@R; R@1 of another view of the same picture; among emoji R@1
across vendors. For four kinds of vectors: the encoder that `defaults.py --methods simclr --lengths 2m --seeds 0` has
trained, the same network untrained, raw pixels, simple statistics. Each is compared as it is, and whitened by the
training part with shares of 0.1 to 10 (nn/whitening.py; `train` takes SHARE). No label takes part in that. DIR is that
of quality.py; one seed.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import machine
import numpy as np
import quality

RESULTS = Path(__file__).with_name("results") / "whitening.json"
SHARES = (0.1, 1.0, 3.0, 10.0)
SPACES = ("as they are", *(f"whitened, {share:g}" for share in SHARES))
NEAR = 10


def row(data: Path, key: dict[str, Any]) -> dict[str, Any]:
    """All figures of one set."""
    from selfsight import Run
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import pictures_of
    from selfsight.evaluation import measure
    from selfsight.evaluation.kinds import kind_of
    from selfsight.evaluation.task import pose
    from selfsight.nn.whitening import Whitening
    from selfsight.training.build import encoder_of

    task = quality.TASKS[key["task"]]
    run = Run(data / "runs" / "default-{task}-0-simclr-own-2m-0".format(**key))
    recipe, manifest = run.recipe, Manifest.load(run.folder / "manifest.parquet")
    pictures, known = pictures_of(recipe, manifest), np.flatnonzero(~manifest.test)
    encoders = {"encoder": run.encoder(), "untrained": encoder_of(recipe)}
    ready = {name: measure.Ready.of(name, one, pictures, known, recipe.size) for name, one in encoders.items()}
    kind = kind_of(manifest.kind, recipe.pixels["low"], recipe.pixels["high"])
    found, rows, _ = measure.features(ready, pictures, manifest.every_row(), known, kind, size=recipe.size)
    test = manifest.test[rows]
    views, _ = measure.two_views(ready, pictures, rows[test], kind.plain, size=recipe.size)
    posed = pose(manifest.labels[rows], manifest.groups[rows], test, manifest.classes)
    across = None
    if task.identity and task.between:
        across = columns(data / task.folder / "labels.csv", task, [manifest.names[one] for one in rows[test]])
    scores: dict[str, Any] = {}
    for name, given in found.items():
        ways = {f"whitened, {share:g}": Whitening.fit(given[~test], share) for share in SHARES}
        for space, way in ({SPACES[0]: lambda given: given} | ways).items():
            if way is not None:
                seen = way(given)
                told = figures(seen, posed, manifest.labels[rows], test, across)
                told["R@1 of another view"] = again(*map(way, views[name]))
                scores.setdefault(name, {})[space] = told
    return {"scores": scores, "train": int((~test).sum()), "test": int(test.sum())}


def again(first: np.ndarray, second: np.ndarray) -> float:
    """How many pictures are found by another view."""
    from selfsight.evaluation import retrieval

    return float(retrieval.two_views(first, second).mean())


def figures(seen: np.ndarray, posed: Any, labels: np.ndarray, test: np.ndarray, across: Any) -> dict[str, float]:
    """What cosines between these vectors are worth."""
    from selfsight.evaluation import knn, retrieval
    from selfsight.neighbours import nearest

    part = (posed.train_labels, posed.train_groups, seen[posed.test], posed.test_labels)
    alike = retrieval.measure(seen[test], labels[test], depths=(1,))
    _, near = nearest(seen[test], seen[test], min(NEAR, int(test.sum()) - 1), exclude_self=True)
    found = {"kNN": knn.measure(seen[posed.train], *part).accuracy, "R@1": float(alike.hits[1].mean())}
    found[f"right of {NEAR}"] = float((labels[test][near] == labels[test][:, None]).mean())
    found["mAP@R"] = float(alike.average.mean())
    if across is not None:
        found["R@1 across vendors"] = float(retrieval.measure(seen[test], *across, depths=(1,)).hits[1].mean())
    return found


def columns(table: Path, task: quality.Task, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What the pictures show and whose they are, as numbers."""
    told = {one["path"]: one for one in csv.DictReader(table.open(newline=""))}
    same, across = (np.unique([told[name][key] for name in names], return_inverse=True)[1]
                    for key in (str(task.identity), str(task.between)))  # fmt: skip
    return same, across


def table(results: dict[str, Any]) -> str:
    """The encoder's figures as Markdown, and the kNN of what is not trained."""
    rule = "|---|---|" + "---|" * len(SPACES)
    lines = [f"| pictures | the trained encoder | {' | '.join(SPACES)} |", rule]
    others = ["", f"| pictures | kNN of what is not trained | {' | '.join(SPACES)} |", rule]
    for one in results["rows"]:
        name = quality.TASKS[one["task"]].told
        for measure in one["scores"]["encoder"][SPACES[0]]:
            lines.append(f"| {name} | {measure} | {cells(one['scores']['encoder'], measure)} |")
        rest = {kind: scores for kind, scores in one["scores"].items() if kind != "encoder"}
        others += [f"| {name} | {kind.replace('_', ' ')} | {cells(its, 'kNN')} |" for kind, its in rest.items()]
    return "\n".join(lines + others)


def cells(scores: dict[str, Any], measure: str) -> str:
    """One measure in all spaces that there are."""
    return " | ".join(f"{scores[space][measure]:.3f}" if space in scores else "" for space in SPACES)


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--tasks", nargs="+", choices=quality.TASKS, default=list(quality.TASKS))
    return machine.answered(parser, "data")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    results = quality.begun(asked)
    keys = () if asked.table else ({"task": name} for name in asked.tasks)
    quality.filled(asked, results, keys, lambda key: [row(asked.data, key)])
    print(table(results))


if __name__ == "__main__":
    main()
