"""What every test may use: a small real-looking folder of pictures, and the contract method in the registry."""

from __future__ import annotations

import os
from importlib import metadata
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


def write_documents(folder: Path, count: int = 64) -> Path:
    """Paragraphs of the licences and read-me files of installed packages, in two sub-folders named after these."""
    kinds = {"licences": ("licen", "copying", "notice"), "readings": ("metadata",)}
    files = sorted((file for one in metadata.distributions() for file in one.files or ()), key=str)
    for name, beginnings in kinds.items():
        (folder / name).mkdir(parents=True)
        there = [Path(str(file.locate())) for file in files if file.name.lower().startswith(beginnings)]
        texts = (text for file in there if file.is_file() for text in file.read_text("utf-8", "replace").split("\n\n"))
        long = dict.fromkeys(text.strip() for text in texts if 30 <= len(text.split()) <= 200)
        for number, text in zip(range(count // 2), long, strict=False):
            (folder / name / f"{number:03d}.txt").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 64 samples in two classes for each kind of sample, under the kind's name."""
    folder = tmp_path_factory.mktemp("samples")
    write_pictures(folder / "pictures")
    write_documents(folder / "documents")
    return folder


@pytest.fixture(scope="session")
def photos(samples: Path) -> Path:
    """64 pictures of 40 x 40 pixels in two classes."""
    return samples / "pictures"


@pytest.fixture(scope="session")
def documents(samples: Path) -> Path:
    """64 documents of 30 to 200 words in two classes."""
    return samples / "documents"
