"""Would cosines between whitened vectors find more than those between vectors as they are?

    python benchmarks/whitening.py --data DIR [--tasks ...] [--json FILE]
    python benchmarks/whitening.py --table

kNN accuracy (k and T chosen inside the training part) and, among emoji, R@1 across vendors on the test part, for four
kinds of vectors: the encoder that `defaults.py --methods simclr --lengths 2m --seeds 0` has trained,
the same network untrained, raw pixels, simple statistics. Each is compared by three cosines: as it is; less the mean of
the training part; and whitened, (C + w I)^(-1/2) (x - mean) with the training part's mean and covariance C, w being a
share (0.01 or 0.1) of the mean eigenvalue. No label takes part in that. DIR is that of quality.py; one seed.
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
SHARES = (0.01, 0.1)
SPACES = ("as they are", "centred", *(f"whitened, {share}" for share in SHARES))


def spaces(rows: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """The vectors of all pictures as each cosine sees them; `train` says which are of the training part."""
    known = rows[train].astype(np.float64)
    moved = rows - known.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(known, rowvar=False, bias=True))
    turned = moved @ axes
    white = [turned / np.sqrt(values.clip(0) + share * values.mean()) for share in SHARES]
    return {name: one.astype(np.float32) for name, one in zip(SPACES, (rows, moved, *white), strict=True)}


def row(data: Path, key: dict[str, Any]) -> dict[str, Any]:
    """All figures of one set."""
    from selfsight import Run
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import pictures_of
    from selfsight.embedding.embed import embed
    from selfsight.evaluation import baselines, knn, retrieval
    from selfsight.evaluation.measure import with_statistics
    from selfsight.evaluation.task import pose
    from selfsight.training.build import encoder_of

    task = quality.TASKS[key["task"]]
    run = Run(data / "runs" / "default-{task}-0-simclr-own-2m-0".format(**key))
    recipe, manifest = run.recipe, Manifest.load(run.folder / "manifest.parquet")
    pictures, size = pictures_of(recipe, manifest), recipe.size
    untrained = with_statistics(encoder_of(recipe), pictures, manifest.train_rows(), size)
    vectors, rows = embed(run.encoder(), pictures, manifest.every_row(), size=size)
    posed = pose(manifest.labels[rows], manifest.groups[rows], manifest.test[rows], manifest.classes)
    train = np.isin(np.arange(len(rows)), posed.train)
    images = (pictures.read(int(one))[0] for one in rows)
    kinds = {"encoder": vectors, "untrained": embed(untrained, pictures, rows, size=size)[0]}
    kinds |= baselines.both(images, train, low=recipe.pixels["low"], high=recipe.pixels["high"])
    found: dict[str, Any] = {}
    for kind, given in kinds.items():
        for space, seen in spaces(given, train).items():
            measured = knn.measure(
                seen[posed.train], posed.train_labels, posed.train_groups, seen[posed.test], posed.test_labels
            )
            found.setdefault(kind, {})[space] = {"kNN": measured.accuracy}
            if task.identity and task.between:
                same, across = columns(data / task.folder / "labels.csv", task, [manifest.names[one] for one in rows])
                hits = retrieval.measure(seen[~train], same[~train], across[~train]).hits[1]
                found[kind][space]["R@1"] = float(hits.mean())
    return {"scores": found, "train": int(train.sum()), "test": int((~train).sum())}


def columns(table: Path, task: quality.Task, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """What the pictures show and whose they are, as numbers."""
    told = {one["path"]: one for one in csv.DictReader(table.open(newline=""))}
    same, across = (np.unique([told[name][key] for name in names], return_inverse=True)[1]
                    for key in (str(task.identity), str(task.between)))  # fmt: skip
    return same, across


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [f"| pictures | measure | vectors | {' | '.join(SPACES)} |", "|---|---|---|" + "---|" * len(SPACES)]
    for one in results["rows"]:
        for measure in one["scores"]["encoder"][SPACES[0]]:
            for kind, scores in one["scores"].items():
                cells = " | ".join(f"{scores[space][measure]:.3f}" for space in SPACES)
                name = quality.TASKS[one["task"]].told
                lines.append(f"| {name} | {measure} | {kind.replace('_', ' ')} | {cells} |")
    return "\n".join(lines)


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
