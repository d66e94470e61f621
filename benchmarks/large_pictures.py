"""What do large pictures cost training, whole and halved as it halves them?

    python benchmarks/large_pictures.py [--json FILE]
    python benchmarks/large_pictures.py --table

JPEGs of photographs at several sizes: milliseconds of a picture in the first epoch (read, decode, keep) and in later
ones (two views of SimCLR, 64 px), and what is kept of it. The two are measured in turns, picture by picture, on one
core; the median of the pictures is told. `difference` is how far, in grey levels, the halved picture is from the whole
one halved after it was decoded.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "large_pictures.json"
SIZES = ((375, 500), (1200, 1600), (3000, 4000))  # height and width, pixels
VIEW, COUNT = 64, 16
PARTS = ("first", "later")
WAYS = WHOLE, HALVED = "whole", "halved"


def written(folder: Path, height: int, width: int) -> Path:
    """Photographs of this size, each another part of one of scikit-learn's two, with noise as of a sensor."""
    import cv2
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        photograph = load_sample_images().images[number % 2]
        top, left = generator.integers(0, 40, 2)
        large = cv2.resize(
            photograph[top : top + 380, left : left + 507], (width, height), interpolation=cv2.INTER_CUBIC
        )
        noisy = large + generator.normal(0, 4, large.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02d}.jpg", quality=90)
    return folder


def row(height: int, width: int) -> dict[str, Any]:
    """One size of pictures."""
    import numpy as np

    from selfsight.data import ranges
    from selfsight.data.halving import halved
    from selfsight.data.manifest import scan
    from selfsight.data.pictures import Pictures
    from selfsight.data.source import find
    from selfsight.training.plan import SMALLEST_KEPT, TWICE
    from selfsight.views.recipes import multi_view

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SELFSIGHT_CACHE"] = f"{scratch}/cache"
        manifest = scan(find([str(written(Path(scratch, "pictures"), height, width))]), use_all=True)
        form, views = ranges.measure(manifest, manifest.train_rows()), multi_view("simclr", VIEW)
        least = TWICE * max(VIEW, SMALLEST_KEPT)
        ways = {WHOLE: None, HALVED: least}
        pictures = {name: Pictures(manifest, form, kept=True, least=side) for name, side in ways.items()}
        for one in pictures.values():
            one.read(0)  # starts the process that decodes
        times: dict[tuple[str, str], list[float]] = {(name, part): [] for name in ways for part in PARTS}
        away = []
        for number in range(1, COUNT):
            for part, (name, one) in product(PARTS, pictures.items()):
                started = time.perf_counter()
                picture = one.read(number)[0]
                if part == PARTS[1]:
                    views(picture, np.random.default_rng(number))
                times[name, part].append(1e3 * (time.perf_counter() - started))
            whole, small = (one.read(number)[0] for one in pictures.values())
            away.append(float(np.abs(halved(whole, least).astype(int) - small).mean()))
        kept = {name: one.read(1)[0].nbytes for name, one in pictures.items()}
    told = {f"{part}, {name}": round(median(taken), 3) for (name, part), taken in times.items()}
    return {"height": height, "width": width, "ms": told, "bytes": kept, "difference": round(median(away), 2)}


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown."""
    head = ["first epoch, ms: whole", "halved", "later, ms: whole", "halved", "kept, kB: whole", "halved"]
    lines = [f"| JPEG, px | {' | '.join(head)} | difference, grey levels |", "|---|" + "---|" * (len(head) + 1)]
    for one in results["rows"]:
        times = [f"{one['ms'][f'{part}, {way}']:.2f}" for part in PARTS for way in WAYS]
        sizes = [f"{one['bytes'][way] / 1e3:,.0f}" for way in WAYS]
        cells = (f"{one['width']} x {one['height']}", *times, *sizes, f"{one['difference']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all sizes, or print what is kept."""
    parser = machine.asks(__doc__, RESULTS)
    asked = parser.parse_args()
    if not asked.table:
        import cv2

        cv2.setNumThreads(0)
        machine.keep(asked.json, {"rows": [row(*size) for size in SIZES]})
    print(table(json.loads(asked.json.read_text())))


if __name__ == "__main__":
    main()
