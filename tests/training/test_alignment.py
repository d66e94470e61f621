"""Whose picture is it? Loader, feature pass, monitor and a method's memory mean the same picture by an index.

Pictures of four colours in an order that says nothing, some held out, one broken after the scan: an index that is off
by one anywhere mixes colours.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_parts import BATCH, freeze_norms, recipe_of, trainer_of
from PIL import Image
from torch import Tensor

from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.training.loop import Trainer

COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220], [220, 220, 40]])
CLUSTERS = 16  # of four kinds: from a start that is drawn, each kind has at least one


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures, every fifth of which is held out."""
    folder, generator = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    lines = ["path,label,split"]
    for number, kind in enumerate(generator.integers(0, 4, 60)):
        noisy = COLOURS[kind] + generator.normal(0, 10, (40, 40, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,kind{kind},{'test' if number % 5 == 2 else 'train'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def manifest(table: Path) -> Manifest:
    scanned = scan(source.find(table))
    (table.parent / "020.png").write_bytes(b"no picture any more")
    return scanned


def trainer(name: str, table: Path, manifest: Manifest, folder: Path, **settings: object) -> Trainer:
    """At a rate that is too low to unlearn colours."""
    recipe = recipe_of(name, table, manifest, steps=48 // BATCH)
    return trainer_of(replace(recipe, lr=1e-4, settings={**recipe.settings, **settings}), manifest, folder)


def kinds_in(views: Tensor) -> list[int]:
    """The colour of each picture (B, ..., h, w, C), by its pixels."""
    means = views.double().flatten(1, -2).mean(dim=1).numpy()
    found: list[int] = np.abs(means[:, None] - COLOURS).sum(axis=2).argmin(axis=1).tolist()
    return found


def kinds_of(manifest: Manifest, labels: Tensor | np.ndarray) -> list[int]:
    return [int(manifest.classes[int(label)].removeprefix("kind")) for label in labels]


def mixed(assignments: Tensor, labels: Tensor) -> list[int]:
    """Clusters that hold pictures of more than one label."""
    return [c for c in assignments.unique().tolist() if len(labels[assignments == c].unique()) > 1]


def test_clusters_of_the_feature_pass_are_those_of_the_batches(table: Path, manifest: Manifest, tmp_path: Path) -> None:
    made = trainer("deepcluster", table, manifest, tmp_path, clusters=CLUSTERS)
    data, method, epoch = made.data, made.method, made.record(0)
    assert len(data.rows) == 48
    assert not np.array_equal(data.rows, np.arange(48))
    method.on_epoch_start(epoch)
    clusters = method.partition.assignments[0]
    readable = torch.from_numpy(data.rows != 20)
    assert mixed(clusters[readable], data.labels[readable]) == []
    assert clusters[readable].unique().numel() >= 4
    label_of = {int(cluster): int(label) for cluster, label in zip(clusters, data.labels, strict=True)}
    for batch in data.loader.batches(method.order(epoch), 0, BATCH):
        assert kinds_in(batch["views"]) == kinds_of(manifest, batch["label"])
        assert torch.equal(data.labels[batch["index"]], batch["label"])
        assert [label_of[int(cluster)] for cluster in clusters[batch["index"]]] == batch["label"].tolist()


def test_the_monitor_looks_at_the_pictures_it_names(table: Path, manifest: Manifest, tmp_path: Path) -> None:
    monitor = trainer("deepcluster", table, manifest, tmp_path).data.monitor
    assert len(monitor.labels) == 47, "the broken one is left out"
    assert kinds_in(monitor.views) == kinds_of(manifest, monitor.labels)


def test_what_is_remembered_of_a_picture_is_its_own(table: Path, manifest: Manifest, tmp_path: Path) -> None:
    made = trainer("deepcluster_v2", table, manifest, tmp_path, clusters=CLUSTERS, augmentation="crop-flip")
    freeze_norms(made.method)  # what a picture looks like must not depend on the others of its batch
    method = made.fit()
    before = method.memory.rows.clone()
    readable = torch.from_numpy(made.data.rows != 20)
    method.on_epoch_start(made.record(1))
    for assignments in method.partition.assignments:
        assert mixed(assignments[readable], made.data.labels[readable]) == []
    assert torch.equal(method.memory.rows, before)
