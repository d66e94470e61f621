"""The same batches with any number of workers and ranks, from any position on, broken pictures included."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.data import ranges, source
from selfsight.data.loader import AHEAD, Loader, waiting
from selfsight.data.manifest import scan
from selfsight.data.pictures import Pictures
from selfsight.errors import TrainingError
from selfsight.views.recipes import multi_view


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photos, tmp_path / "pictures"))


def loader_of(folder: Path, workers: int = 0, broken: int = 0, max_bad: float = 0.1) -> Loader:
    """`broken` files are cut short after the scan."""
    manifest = scan(source.find(folder))
    rows = manifest.train_rows()
    pictures = Pictures(manifest, ranges.measure(manifest, rows), max_bad=max_bad)
    for row in rows[3 : 3 + broken]:
        Path(manifest.paths[row]).write_bytes(b"no picture")
    labels = torch.from_numpy(manifest.labels[rows])
    return Loader(pictures, rows, labels, multi_view("simclr", 32), seed=5, workers=workers)


def all_of(
    loader: Loader, order: torch.Tensor, first: int = 0, batch: int = 8, **rank: int
) -> list[dict[str, torch.Tensor]]:
    found = list(loader.batches(order, first, batch, **rank))
    loader.close()
    return found


def equal(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]) -> bool:
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


ORDER = torch.from_numpy(np.random.default_rng(0).permutation(48))


def test_a_batch_names_its_samples(folder: Path) -> None:
    loader = loader_of(folder)
    batches = all_of(loader, ORDER, first=96)
    assert len(batches) == 6
    for number, batch in enumerate(batches):
        assert batch["views"].shape == (8, 2, 32, 32, 3)
        assert batch["views"].dtype == torch.uint8
        assert torch.equal(batch["index"], ORDER[8 * number : 8 * number + 8])
        assert torch.equal(batch["position"], torch.arange(96 + 8 * number, 104 + 8 * number))
        assert torch.equal(batch["label"], loader.labels[batch["index"]])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_nothing(folder: Path, workers: int) -> None:
    assert equal(all_of(loader_of(folder), ORDER), all_of(loader_of(folder, workers), ORDER))


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_each_batch(folder: Path, workers: int) -> None:
    whole = all_of(loader_of(folder), ORDER)
    parts = [all_of(loader_of(folder, workers), ORDER, rank=rank, world=2) for rank in (0, 1)]
    together = [{key: torch.cat([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True)]
    assert equal(whole, together)


def test_going_on_gives_the_very_next_picture(folder: Path) -> None:
    whole = all_of(loader_of(folder), ORDER)
    assert equal(whole[4:], all_of(loader_of(folder, 2), ORDER[32:], first=32))


def test_the_same_picture_is_drawn_anew_at_another_position(folder: Path) -> None:
    first, second = all_of(loader_of(folder), torch.tensor([7, 7, 7, 7]), batch=2)
    assert len({tuple(view.flatten().tolist()) for view in torch.cat([first["views"], second["views"]])}) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_is_replaced_and_named_truly(folder: Path, tmp_path: Path, workers: int) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy" / "pictures"))
    found = all_of(loader_of(folder, 0, broken=2), ORDER)
    again = all_of(loader_of(copy, workers, broken=2), ORDER)
    assert equal(found, again)
    index = torch.cat([batch["index"] for batch in found])
    replaced = index != ORDER
    assert set(ORDER[replaced].tolist()) == {3, 4}
    assert not {3, 4} & set(index.tolist())


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_broken_pictures_stop_it(folder: Path, workers: int) -> None:
    loader = loader_of(folder, workers, broken=20)
    with pytest.raises(TrainingError, match="no readable pictures"):
        all_of(loader, ORDER)
    loader.close()


def test_large_batches_wait_in_bounded_memory() -> None:
    assert waiting(workers=16, size=1000) == 16 + AHEAD
    assert waiting(workers=16, size=2**29) == 4
    assert waiting(workers=16, size=2**40) == 1


def test_leaving_early_leaves_no_thread(folder: Path) -> None:
    loader = loader_of(folder, 2)
    batches = loader.batches(ORDER, 0, 8)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_for_a_gpu_every_tensor_is_pinned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, loader = loader_of(folder), loader_of(folder)
    loader.pinned = True
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    for before, pinned in zip(all_of(plain, ORDER), all_of(loader, ORDER), strict=True):
        assert all(torch.equal(before[name] + 1, pinned[name]) for name in before)
