"""What every test may use: a small real-looking folder of pictures, and the contract method in the registry."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import selfsight.methods

CONTRACT = str(Path(__file__).parent / "contract")
if CONTRACT not in selfsight.methods.__path__:
    selfsight.methods.__path__.append(CONTRACT)


def write_pictures(folder: Path, count: int = 64, side: int = 40) -> Path:
    """Crops of scikit-learn's two photographs, in two sub-folders named after them."""
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        generator = np.random.default_rng(0)
        for number in range(count // 2):
            top, left = generator.integers(0, 427 - side), generator.integers(0, 640 - side)
            crop = photo[top : top + side, left : left + side]
            Image.fromarray(crop).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of 40 x 40 pixels in two classes."""
    return write_pictures(tmp_path_factory.mktemp("photos") / "photos")
