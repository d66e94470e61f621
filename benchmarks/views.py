"""How fast are the views? Two SimCLR views per picture on one core, against lightly's SimCLRTransform.

    python benchmarks/views.py [--data FOLDER] [--pictures 64] [--rounds 15] [--json FILE]

Both sides get the same decoded pictures and take turns in one process. Ours includes the picture's own generator.
lightly's transform also makes float tensors and normalises them, which our encoder does on the device; the column
"pictures only" leaves that out of lightly's side. The difference is the picture gate's: mean absolute difference, in
grey levels of 255, to Pillow and torchvision on the same draws.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; read when the libraries load

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import Compose

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "views"))
import oracle_views as oracle

from selfsight.data.order import Purpose, keyed
from selfsight.views import recipes
from selfsight.views.render import render

with warnings.catch_warnings(action="ignore"):
    from lightly.transforms import SimCLRTransform

SIDES = ((32, 32), (32, 64), (96, 128), (224, 400))  # of the view, of the pictures: CIFAR, icons, STL, photographs
TARGETS = {32: 12.0, 224: 5.0}  # times lightly
GATE_DRAWS = 200


def sources(folder: Path | None, side: int, count: int) -> list[np.ndarray]:
    """`count` pictures (side, side, 3): the folder's, scaled, or tiles of scikit-learn's two photographs."""
    if folder is None:
        tiles, generator = [], np.random.default_rng(0)
        for n in range(count):
            photograph = load_sample_images().images[n % 2]
            top, left = (int(generator.integers(0, limit - side + 1)) for limit in photograph.shape[:2])
            tiles.append(np.ascontiguousarray(photograph[top : top + side, left : left + side]))
        return tiles
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    chosen = files[:: max(1, len(files) // count)][:count]
    return [np.asarray(Image.open(f).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) for f in chosen]


def lightly(size: int) -> SimCLRTransform:
    """lightly's own transform with the settings of our recipe for this size."""
    small = size <= recipes.SMALL
    return SimCLRTransform(input_size=size, cj_strength=0.5 if small else 1.0, gaussian_blur=0.0 if small else 0.5)


def pictures_only(transform: SimCLRTransform) -> Callable[[Image.Image], list[Image.Image]]:
    """The same without ToTensor and Normalize."""
    parts = [Compose(view.transform.transforms[:-2]) for view in transform.transforms]
    return lambda image: [part(image) for part in parts]


def milliseconds(call: Callable[[int], object], count: int) -> float:
    """Time per picture of one pass."""
    start = time.perf_counter()
    for n in range(count):
        call(n)
    return (time.perf_counter() - start) / count * 1e3


def measure(size: int, source: int, folder: Path | None, count: int, rounds: int) -> dict[str, float]:
    """Medians over rounds in which all sides take turns; ratios are medians of each round's ratio."""
    arrays = sources(folder, source, count)
    images = [Image.fromarray(array) for array in arrays]
    ours, theirs = recipes.multi_view("simclr", size), lightly(size)
    bare = pictures_only(theirs)

    def our_views(n: int) -> object:
        return ours(arrays[n], keyed(0, n, Purpose.VIEWS))

    sides = {"selfsight": our_views, "lightly": lambda n: theirs(images[n]), "pictures_only": lambda n: bare(images[n])}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, call in sides.items():
            spent = milliseconds(call, len(arrays))
            if turn:  # the first turn warms up
                times[name].append(spent)
    found = {f"{name}_ms": round(median(spent), 4) for name, spent in times.items()}
    for name in ("lightly", "pictures_only"):
        ratios = [other / own for other, own in zip(times[name], times["selfsight"], strict=True)]
        found[f"ratio_{name}"] = round(median(ratios), 2)
    return found | gate(size, arrays)


def gate(size: int, arrays: list[np.ndarray]) -> dict[str, float]:
    """Mean and worst difference to torchvision over the draws of our recipe on these pictures."""
    drawn = oracle.draws(recipes.get("simclr", size), arrays, GATE_DRAWS)
    found = [np.abs(render(p, d, size).astype(float) - oracle.rendering(p, d, size)).mean() for p, d in drawn]
    return {"difference_mean": round(float(np.mean(found)), 2), "difference_worst": round(float(np.max(found)), 2)}


def main() -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="Two SimCLR views per picture, one core, against lightly.")
    parser.add_argument("--data", type=Path, help="folder of pictures (default: scikit-learn's two photographs)")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    print("  view  source   selfsight    lightly   times   pictures only   times   difference mean / worst   target")
    for size, source in SIDES:
        r = results[f"{size} from {source}"] = measure(size, source, options.data, options.pictures, options.rounds)
        target = f">= {TARGETS[size]:g}x" if size in TARGETS else "-"
        print(
            f"{size:4d} px {source:4d} px {r['selfsight_ms']:8.3f} ms {r['lightly_ms']:7.3f} ms"
            f" {r['ratio_lightly']:6.1f}x {r['pictures_only_ms']:12.3f} ms {r['ratio_pictures_only']:6.1f}x"
            f" {r['difference_mean']:16.2f} / {r['difference_worst']:.2f}  {target:>11s}"
        )
    if options.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "opencv": cv2.__version__}
        options.json.write_text(json.dumps({"machine": machine, "views": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
