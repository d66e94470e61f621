"""What every test may use: a small real-looking folder of pictures, and the contract method in the registry."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import selfsight.methods
from selfsight.data import cache as decoded
from selfsight.data import remote, shards

pytest_plugins = ["browsing_parts"]

# Processes are forked from one that has imported everything and run nothing: seconds saved for each. pandas is what
# pyarrow imports where it is installed.
PRELOADED = "selfsight.cli selfsight.training.session selfsight.searching.collect selfsight.exporting.folder "
PRELOADED += "selfsight.comparison.story selfsight.report pandas pyarrow.dataset PIL.PngImagePlugin"
multiprocessing.set_forkserver_preload(PRELOADED.split())

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


def write_documents(folder: Path, count: int = 64, length: int = 48, step: int = 24) -> Path:
    """Passages of our licence, whose words are the same on every machine, in two sub-folders."""
    words = (Path(__file__).parents[1] / "LICENSE").read_text("utf-8").split()
    for number in range(count):
        file = folder / ("beginning" if number < count // 2 else "end") / f"{number:03d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(" ".join(words[number * step : number * step + length]), "utf-8")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded pictures and fetched shards are kept in a folder of the tests' own, also by the processes they start."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SELFSIGHT_CACHE"] = str(folder)
    yield folder
    shutil.rmtree(folder)


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
    """64 documents of 48 words, punctuation not counted, in two classes."""
    return samples / "documents"


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for the test, with room, and an address that fails is not asked again for long."""
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "_most", lambda place, used: 1 << 40)  # however full the disk is
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.02))
    monkeypatch.setattr(shards, "_waiting", shards._Waiting())
    monkeypatch.setattr(decoded, "_grant", decoded._Grant())
