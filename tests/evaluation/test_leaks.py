"""The leak guard: copies, nearly copies and groups across the split are found; other pictures are not called so."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError
from selfsight.evaluation import leaks


def crops(count: int, side: int = 96, seed: int = 0) -> list[np.ndarray]:
    """Different places of a photograph, none of them in its sky."""
    generator = np.random.default_rng(seed)
    photo = load_sample_images().images[0]
    corners = zip(generator.integers(150, 427 - side, count), generator.integers(0, 640 - side, count), strict=True)
    return [photo[top : top + side, left : left + side] for top, left in corners]


def manifest(count: int, train: int, digests: list[str] | None = None, groups: np.ndarray | None = None) -> Manifest:
    """The first `train` pictures train, the rest is the test part."""
    names, numbers = tuple(f"{row:03d}.png" for row in range(count)), np.arange(count)
    facts = {"paths": names, "names": names, "digests": tuple(digests or names), "dtypes": ("uint8",) * count}
    sizes = dict.fromkeys(("widths", "heights", "channels"), numbers)
    return Manifest(
        **facts,
        **sizes,
        labels=numbers % 2,
        groups=numbers if groups is None else groups,
        test=numbers >= train,
        classes=("ant", "bee"),
    )


def found(pictures: list[np.ndarray], train: int, **facts: object) -> leaks.Leaks:
    grids = np.stack([leaks.grid(picture, 0.0, 255.0) for picture in pictures])
    blind = np.ones((len(pictures), 4), np.float32)  # a collapsed encoder sees no difference
    told = leaks.find(manifest(len(pictures), train, **facts), grids, blind)
    assert told is not None
    return told


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


CHANGES = {
    "compressed": lambda picture: jpeg(picture, 50),
    "half": lambda picture: jpeg(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 85),
    "twice": lambda picture: cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda picture: np.clip(picture * 1.15, 0, 255).astype(np.uint8),
    "noisy": lambda picture: np.clip(picture + np.random.default_rng(0).normal(0, 4, picture.shape), 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found(change: str) -> None:
    known = crops(40)
    told = found([*known, *(CHANGES[change](picture) for picture in known[:20])], 40)
    assert told.near.mean() >= 0.75
    assert not told.exact.any()
    assert all(other == one - 40 for one, other, _ in told.pairs)


def test_other_pictures_are_not() -> None:
    told = found([*crops(150), *crops(100, seed=1)], 150)
    assert not told.affected.any()
    assert told.told(False)["sentence"].startswith("None of the 100 test pictures")


def test_other_colours_and_contrasts_are_other_pictures() -> None:
    """A heart in black, white and red is three pictures; empty ones have nothing to tell them by."""
    shape = np.full((64, 64, 3), 255, np.uint8)
    hearts = [cv2.circle(shape.copy(), (32, 32), 20, colour, -1) for colour in ((30, 30, 30), (230, 230, 230))]
    hearts += [cv2.circle(shape.copy(), (32, 32), 20, colour, -1) for colour in ((60, 120, 30), (60, 30, 120))]
    assert not found(hearts, 2).affected.any()
    assert not found([shape, *hearts[:2], shape - 1], 3).affected.any()


def test_copies_and_groups_are_counted_and_left_out() -> None:
    pictures = [*crops(10), *crops(6, seed=1)]
    digests = [*map(str, range(10)), "3", "3", *map(str, range(12, 16))]
    groups = np.array([*range(10), 10, 11, 5, *range(13, 16)])
    told = found([*pictures[:10], pictures[3], pictures[3], *pictures[12:]], 10, digests=digests, groups=groups)
    counts = {"test": 6, "exact": 2, "near": 0, "grouped": 1, "affected": 3, "groups": 1, "dropped": False}
    assert told.told(False) | counts == told.told(False)
    assert "3 of 6 test pictures leak" in told.told(False)["sentence"]
    assert "--drop-leaks" in told.told(False)["sentence"]
    assert told.told(remedy="")["sentence"].endswith("that flatters every row of the table.")
    assert np.flatnonzero(~told.left()).tolist() == [10, 11, 12]
    assert told.pairs == [(10, 3, {"as": "the same file"}), (11, 3, {"as": "the same file"})]


def test_nothing_left_is_said() -> None:
    told = found([*crops(4), *crops(4)], 4)
    with pytest.raises(DataError, match="each of the 4 test pictures has a copy"):
        told.left()


def test_one_part_and_samples_without_cells() -> None:
    none = np.zeros((4, 0, 0, 0), np.float32)
    assert leaks.find(manifest(4, 4), none, np.ones((4, 2), np.float32)) is None
    told = leaks.find(manifest(4, 2, ["a", "b", "a", "c"]), none, np.ones((4, 2), np.float32))
    assert told is not None
    assert (told.exact.tolist(), told.near.tolist()) == ([True, False], [False, False])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = crops(20)
    pictures = [*known, *(jpeg(picture, 60) for picture in known)]
    whole = found(pictures, 20)
    monkeypatch.setattr(leaks, "BLOCK", 3)
    assert found(pictures, 20).pairs == whole.pairs
