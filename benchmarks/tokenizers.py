"""Which tokenizer gives BEiT the best encoder at the same number of pictures seen?

    python benchmarks/tokenizers.py --data DIR [--for 400steps] [--encoder NAME] [--tokenizers ...] [--tasks ...]

DIR is that of quality.py. Every pair of a task and a tokenizer is one run of 32 px: the tokenizer is trained for half
as many steps (k-means needs none), then BEiT. A row says how well the encoder names the test pictures by their nearest
neighbours, beside the same network untrained, and at what loss it ended beside naming codes by their frequency alone.
Runs are kept in DIR/runs: one that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from quality import TASKS, export_fashion

TOKENIZERS = ("dvae", "vq", "kmeans")
SIZE = 32


def row(name: str, tokenizer: str, asked: argparse.Namespace) -> tuple[Any, ...]:
    """Train, and measure what the table shows."""
    import selfsight
    from selfsight.nn.encoder import Encoder

    task, data = TASKS[name], asked.data.absolute()
    run = selfsight.train(
        data / task.folder / "labels.csv", method="beit", settings={"tokenizer": tokenizer}, encoder=asked.encoder,
        length=asked.length, seed=asked.seed, batch=asked.batch, size=SIZE, threads=1, precision="fp32",
        out=data / "runs" / f"{name}-beit-{tokenizer}-{asked.encoder}-{asked.batch}-{asked.length}-{asked.seed}",
        label_column=task.label, split_column=task.split, group_column=task.group,
    )  # fmt: skip
    ended = [line for line in run.metrics.to_pylist() if line.get("loss") is not None][-10:]
    loss, frequency = (np.mean([line[key] for line in ended]) for key in ("loss", "by_frequency"))
    encoders = (run.encoder(), Encoder.load(run.folder / "untrained").eval())
    return name, tokenizer, *(named(run, encoder) for encoder in encoders), f"{loss:.2f}", f"{frequency:.2f}"


def named(run: Any, encoder: Any) -> str:
    """kNN accuracy on the test pictures, with its interval."""
    from selfsight.data.manifest import Manifest
    from selfsight.data.pictures import pictures_of
    from selfsight.embedding.embed import embed
    from selfsight.evaluation import intervals, knn

    manifest = Manifest.load(run.folder / "manifest.parquet")
    pictures = pictures_of(run.recipe, manifest)
    features, rows = embed(encoder, pictures, manifest.every_row(), size=SIZE, plain=True)
    test, labels, groups = manifest.test[rows], manifest.labels[rows], manifest.groups[rows]
    found = knn.measure(features[~test], labels[~test], groups[~test], features[test], labels[test])
    low, high = intervals.of_share(found.correct, groups[test])
    return f"{found.accuracy:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="where the sets are")
    parser.add_argument("--for", dest="length", default="400steps", help="length of each BEiT")
    parser.add_argument("--encoder", default="vit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--tokenizers", nargs="+", default=list(TOKENIZERS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["emoji_free", "fashion_mnist"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if "fashion_mnist" in asked.tasks:
        export_fashion(asked.data)
    print("| pictures | tokenizer | kNN | untrained | loss | by frequency |\n|---|---|---|---|---|---|", flush=True)
    for name in asked.tasks:
        for tokenizer in asked.tokenizers:
            print(f"| {' | '.join(row(name, tokenizer, asked))} |", flush=True)


if __name__ == "__main__":
    main()
