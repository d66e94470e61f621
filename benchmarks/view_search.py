"""Do scores rank views as labels do, and does a run gain by `--views search`?

    python benchmarks/view_search.py --data DIR [--images 8192] [--for 10m] [--tasks ...] [--seeds 3]
    python benchmarks/view_search.py --table

First the small network of the search is trained on every candidate for `--images` pictures. The candidates are ranked
by what needs no label (of at most 1,000 training pictures), by labels as the search does it (of 100, and of at most
3,000 training pictures), and by the kNN accuracy on the test part, which is the judge (of at most 2,000 test pictures
among at most 4,000 training pictures). Each counts with its mean over the seeds, without those that one of them could
not train. They are too few for an interval, and seeds are no further candidates.

Then runs of `--for` with the method's own views and with `--views search`, whose time is in that. kNN is that of
`selfsight evaluate` but of plain vectors; the difference is paired by test picture, of the mean over the seeds, its
interval of 95 %. With `--for 0m` this part is left out, with `--images 0` the first.

Runs are kept in DIR/runs: one that was stopped goes on, and a row that is in the result file is not made again. DIR is
that of quality.py.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import beside_lightly
import defaults
import machine
import quality

RESULTS = Path(__file__).with_name("results") / "view_search.json"
ARMS = ("search", "own")
REFERENCES = ("simclr", "simclr-keep-colour")  # views whose two are to find each other
SHOWN = 1000  # training pictures that scores without labels see
BANK, ASKED = 4000, 2000  # training and test pictures of the judge, at most
FEW = 100  # labels
SCORES = {
    "labels": "labels, at most 3,000",
    "few": "labels, 100",
    "rankme": "RankMe",
    "participation": "participation ratio",
    "alpha_req": "alpha-ReQ, nearness to 1",
    "uniformity": "uniformity",
    "lidar": "LiDAR",
    "r1 simclr": "one view finds the other, usual views",
    "r1 simclr-keep-colour": "one view finds the other, colour kept",
    "r1 halves": "the left half finds the right one",
    "statistics": "simple statistics told by the vectors, share of variance",
}


def agreement(asked: argparse.Namespace, task: str, seed: int) -> list[dict[str, Any]]:
    """Every candidate with its scores, without any where it diverged."""
    import numpy as np

    from selfsight.data import source
    from selfsight.data.manifest import scan
    from selfsight.errors import DivergedError
    from selfsight.recipe import Columns
    from selfsight.training import view_search
    from selfsight.training.plan import plan
    from selfsight.training.request import Request

    own = quality.TASKS[task]
    data, columns = [str(asked.data / own.folder / "labels.csv")], Columns(own.label, own.group, own.split)
    manifest = scan(source.find(data, **columns.spelled()))
    request = Request(
        data, seed=seed, length="1steps", threads=asked.threads, precision="fp32", device="cpu", columns=columns
    )
    recipe = view_search.proxy(plan(request, manifest)[0], manifest)
    rows = []
    for views in view_search.candidates(recipe.settings["augmentation"], recipe.pixels["channels"], recipe.side):
        its = view_search.viewed(recipe, views, asked.images // recipe.batch)
        folder = asked.data / "runs" / f"views-{task}-{asked.images}-{seed}-{views}"
        try:
            encoder, pictures = view_search.trained(its, manifest, folder, workers=1, quiet=True)
            scores = measured(encoder.eval(), pictures, manifest, its)
        except DivergedError:
            scores = {}
        rows.append({"views": views, **{name: float(np.float32(one)) for name, one in scores.items()}})
    return rows


def measured(encoder: Any, pictures: Any, manifest: Any, recipe: Any) -> dict[str, float]:
    """What each score says of the encoder, more being better, and the judge's word as `kNN`."""
    import numpy as np

    from selfsight.embedding.embed import embed
    from selfsight.evaluation import baselines, geometry, knn, quality, retrieval, trust
    from selfsight.training.jury import Jury

    def vectors(rows: Any) -> Any:
        return embed(encoder, pictures, rows, size=recipe.size)[0]

    known, test = manifest.train_rows(), np.flatnonzero(manifest.test & (manifest.labels >= 0))
    bank = known[manifest.labels[known] >= 0]
    bank, asked = bank[geometry.subset(len(bank), BANK)], test[geometry.subset(len(test), ASKED)]
    facts = (manifest.labels[bank], manifest.groups[bank])
    judge = knn.measure(vectors(bank), *facts, vectors(asked), manifest.labels[asked])
    jury = Jury.of(manifest, recipe.seed)
    seen = vectors(jury.rows)
    told = quality.by_others(seen, jury.labels, jury.groups)
    some = np.random.default_rng(recipe.seed).permutation(len(seen))[:FEW]
    few = quality.by_others(seen[some], jury.labels[some], jury.groups[some])
    shown = known[geometry.subset(len(known), SHOWN)]
    images = [pictures.read(int(row))[0] for row in shown]
    bare = vectors(shown)
    free = geometry.label_free(bare)
    pairs = {f"r1 {name}": drawn(encoder, images, name, recipe.side) for name in REFERENCES}
    pairs["r1 halves"] = halves(encoder, images, recipe.size)
    free |= geometry.of_views(*pairs["r1 simclr-keep-colour"])
    named = ("rankme", "participation", "alpha_req", "uniformity", "lidar")
    found = {name: trust.BETTER[name](float(free[name])) for name in named if name in free}
    found |= {name: float(retrieval.two_views(*pair).mean()) for name, pair in pairs.items()}
    limits = {"low": recipe.pixels["low"], "high": recipe.pixels["high"]}
    found["statistics"] = explained(bare, baselines.simple_statistics(images, **limits))
    return {"kNN": judge.accuracy, "labels": told.mean(), "few": few.mean(), **found}


def drawn(encoder: Any, images: list[Any], name: str, size: int) -> tuple[Any, Any]:
    """Vectors of two views of each picture."""
    from selfsight.data.order import Purpose, keyed
    from selfsight.views.recipes import multi_view

    views = multi_view(name, size)
    return both(encoder, [views(one, keyed(0, n, Purpose.MONITOR))["views"] for n, one in enumerate(images)])


def halves(encoder: Any, images: list[Any], size: int) -> tuple[Any, Any]:
    """Vectors of the left and of the right half of each picture."""
    from selfsight.views.render import whole

    middles = [one.shape[1] // 2 for one in images]
    cut = [(one[:, :middle], one[:, middle : 2 * middle]) for one, middle in zip(images, middles, strict=True)]
    return both(encoder, [[whole(part, size) for part in parts] for parts in cut])


def both(encoder: Any, views: list[Any]) -> tuple[Any, Any]:
    """Vectors of first and of second views."""
    import numpy as np
    import torch

    from selfsight.embedding.embed import vectors_of

    first, second = (torch.from_numpy(np.stack([pair[v] for pair in views])) for v in (0, 1))
    return vectors_of(encoder, first), vectors_of(encoder, second)


def explained(vectors: Any, values: Any) -> float:
    """Share of the variance of `values` that ridge regression on one half of the vectors tells of the other half."""
    from sklearn.linear_model import Ridge

    half = len(vectors) // 2
    unit = (vectors - vectors.mean(axis=0)) / (vectors.std() + 1e-9)
    told = Ridge(alpha=half / 100).fit(unit[:half], values[:half]).predict(unit[half:])
    wanted = values[half:]
    return 1 - float(((told - wanted) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum())


def effect(asked: argparse.Namespace, key: dict[str, Any]) -> dict[str, Any]:
    """Train and score once."""
    import selfsight

    own = quality.TASKS[key["task"]]
    columns = {"label_column": own.label, "split_column": own.split, "group_column": own.group}
    run = selfsight.train(
        asked.data / own.folder / "labels.csv", method=key["method"], length=key["length"], seed=key["seed"],
        views="search" if key["arm"] == "search" else defaults.usual_views(key["method"]), threads=asked.threads,
        quiet=True, out=asked.data / "runs" / f"view-{'-'.join(map(str, key.values()))}", **columns,
    )  # fmt: skip
    told = {"views": run.recipe.settings["augmentation"], "tried": run.recipe.searched}
    return {**told, "steps": run.recipe.steps, **beside_lightly.scored(run, run.encoder())}


def table(results: dict[str, Any]) -> str:
    """How each score agrees, and what a run gains."""
    tried, untried = quality.parted(results.get("agreement", []), "task", "images")
    made, refused = quality.parted(results["rows"], "task", "method", "length", "arm")
    parts = [ranks(tried), untried, gains(made), refused]
    return "\n\n".join(part for part in parts if part)


def ranks(found: list[dict[str, Any]]) -> str:
    """A line for each score, a column for each set of pictures and length, and what diverged."""
    if not found:
        return ""
    kinds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for one in found:
        kinds.setdefault((one["task"], one["images"]), []).append(one)
    heads = [f"{task}, {images:,} pictures" for task, images in kinds]
    lines = [["score", *heads, "the judge's order rather than the opposite"], ["---"] * (len(heads) + 2)]
    for name, title in SCORES.items():
        told = [correlation(seeds, name) for seeds in kinds.values()]
        known = [one for one in told if one is not None]
        cells = ["" if one is None else f"{one:+.2f}" for one in told]
        lines.append([title, *cells, f"{sum(one > 0 for one in known)} of {len(known)}"])
    lost = [f"{row['views']} on {one['task']}" for one in found for row in one["rows"] if "kNN" not in row]
    note = f"\n\nLeft out, since a training diverged: {', '.join(dict.fromkeys(lost))}." if lost else ""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + note


def correlation(found: list[dict[str, Any]], name: str) -> float | None:
    """Spearman's over the candidates that every seed scored, each with its mean over the seeds."""
    from scipy.stats import spearmanr

    pairs: dict[str, list[tuple[float, float]]] = {}
    for row in (row for one in found for row in one["rows"] if name in row):
        pairs.setdefault(row["views"], []).append((row[name], row["kNN"]))
    whole = [seeds for seeds in pairs.values() if len(seeds) == len(found)]
    sides = [[mean(pair[side] for pair in seeds) for seeds in whole] for side in (0, 1)]
    return float(spearmanr(*sides)[0]) if min(len(set(side)) for side in sides) > 1 else None


def gains(rows: list[dict[str, Any]]) -> str:
    """A line for each set of pictures and length."""
    lines = []
    for key in dict.fromkeys((one["task"], one["method"], one["length"]) for one in rows):
        shared = dict(zip(("task", "method", "length"), key, strict=True))
        sides = beside_lightly.paired(rows, shared, "arm", ARMS)
        if sides:
            gain, low, high = beside_lightly.difference(*sides)
            chosen = ", ".join(dict.fromkeys(f"`{one['views']}`" for one in sides[0]))
            spreads = map(beside_lightly.spread, sides)
            lines.append([*key, chosen, *spreads, f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"])
    head = ["task", "method", "for", "chosen", "kNN, search", "kNN, own views", "difference"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)) if lines else ""


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--images", type=int, default=8192, help="that each candidate is trained on; 0: not this part")
    parser.add_argument("--for", dest="length", default="10m", help="length of each run; 0m: not this part")
    parser.add_argument("--tasks", nargs="+", choices=quality.TASKS, default=list(quality.TASKS))
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print the tables."""
    asked = options()
    results = {"agreement": [], **quality.begun(asked)}
    ranked = (
        {"task": task, "images": asked.images, "seed": seed}
        for seed, task in product(range(asked.seeds if asked.images else 0), asked.tasks)
    )
    told = {"method": asked.method, "length": asked.length}
    trained = (
        {"task": task, **told, "arm": arm, "seed": seed}
        for seed, task, arm in product(range(asked.seeds if asked.length != "0m" else 0), asked.tasks, ARMS)
    )
    agreed = quality.attempted(lambda key: [{"rows": agreement(asked, key["task"], key["seed"])}])
    quality.filled(asked, results, ranked, agreed, "agreement")
    quality.filled(asked, results, trained, quality.attempted(lambda key: [effect(asked, key)]))
    print(table(results))


if __name__ == "__main__":
    main()
