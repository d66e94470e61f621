"""Pictures for a benchmark that names no folder: crops of the two photographs that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path


def crops(folder: Path, *, count: int, side: int, width: int | None = None, suffix: str = ".png") -> Path:
    """Write `count` crops, `side` high and `width` (or `side`) wide, into two sub-folders; the same ones every time."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator, size = np.random.default_rng(0), (side, width or side)
    for name, photograph in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(count // 2):
            top, left = (int(generator.integers(0, photograph.shape[axis] - size[axis] + 1)) for axis in (0, 1))
            crop = Image.fromarray(photograph[top : top + size[0], left : left + size[1]])
            crop.save(folder / name / f"{number:04d}{suffix}", **({} if suffix == ".png" else {"quality": 90}))
    return folder
