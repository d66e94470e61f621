"""Pictures for a benchmark that names no folder: crops of the two photographs that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path


def crops(folder: Path, *, count: int, side: int, suffix: str = ".png") -> Path:
    """Write `count` crops of `side` x `side` pixels into two sub-folders; the same ones every time."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for name, photograph in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(count // 2):
            top, left = (int(generator.integers(0, limit - side + 1)) for limit in photograph.shape[:2])
            crop = Image.fromarray(photograph[top : top + side, left : left + side])
            crop.save(folder / name / f"{number:04d}{suffix}", **({} if suffix == ".png" else {"quality": 90}))
    return folder
