"""Supervised training: it learns, repeats itself, leaves the given encoder alone, and chooses its rate without the test
part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from contract_parts import everything_scanned

from selfsight.data import ranges
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.errors import TrainingError
from selfsight.nn import attention
from selfsight.nn.encoder import Encoder
from selfsight.training import finetune
from selfsight.training.finetune import RATES, state_digest, tune, work

SHORT: dict[str, Any] = {"size": 32, "steps": 12, "batch": 16}


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


@pytest.fixture(scope="module")
def pictures(manifest: Manifest) -> Pictures:
    return Pictures(manifest, ranges.measure(manifest, manifest.every_row()))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder("test_resnet", size=32).eval()


def test_it_learns_and_leaves_the_given_encoder_alone(encoder: Encoder, pictures: Pictures, manifest: Manifest) -> None:
    before, random = state_digest(encoder), torch.get_rng_state()
    train, test = np.arange(0, 64, 2), np.arange(1, 64, 2)
    tuned = tune(encoder, pictures, train, manifest.labels[train], size=32, steps=60, batch=16, lr=1e-3)
    assert state_digest(encoder) == before != state_digest(tuned.encoder)
    assert not encoder.training
    assert torch.equal(torch.get_rng_state(), random)
    assert (tuned.predict(pictures, test) == manifest.labels[test]).mean() > 0.8  # a photograph of china or of a flower


def test_workers_and_repetition_change_nothing(encoder: Encoder, pictures: Pictures, manifest: Manifest) -> None:
    rows = manifest.every_row()
    digests = [
        state_digest(
            tune(encoder, pictures, rows, manifest.labels, **SHORT, lr=1e-3, seed=seed, workers=workers).encoder
        )
        for workers, seed in ((0, 3), (2, 3), (0, 4))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_frozen_copy_is_trained_too(encoder: Encoder, pictures: Pictures, manifest: Manifest) -> None:
    """A teacher's encoder has no gradients."""
    frozen = Encoder("test_resnet", size=32).requires_grad_(False)
    tuned = tune(frozen, pictures, manifest.every_row(), manifest.labels, **SHORT, lr=1e-3)
    assert state_digest(frozen) != state_digest(tuned.encoder)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_two_labels_fill_a_batch(encoder: Encoder, pictures: Pictures, manifest: Manifest) -> None:
    rows = np.array([0, 63])
    tuned = tune(encoder, pictures, rows, manifest.labels[rows], size=32, steps=20, batch=16)
    assert tuned.lr == RATES[0]  # two pictures choose nothing
    assert tuned.predict(pictures, np.array([63, 0, 63])).tolist() == [1, 0, 1]


def test_a_batch_of_two_epochs_holds_every_picture(pictures: Pictures, manifest: Manifest) -> None:
    rows = np.array([5, 9, 40])
    lesson = finetune.Lesson(pictures, rows, manifest.labels[rows], size=32, steps=2, batch=6)
    first, second = lesson.batches()
    assert sorted(first["index"].tolist()) == [0, 0, 1, 1, 2, 2]
    assert first["label"].tolist() == [manifest.labels[rows[place]] for place in first["index"]]
    assert not torch.equal(first["views"], second["views"])  # never the same view twice


def test_attention_is_as_quick_as_in_training(pictures: Pictures, manifest: Manifest, monkeypatch: Any) -> None:
    """Or else `compare` would give the network that learns from labels fewer steps in the same time."""
    found, rows = Mock(wraps=attention.attention), manifest.every_row()[:12]
    monkeypatch.setattr(attention, "attention", found)
    lesson = finetune.Lesson(pictures, rows, manifest.labels[rows], size=32, steps=1, batch=6, precision="bf16")
    finetune.train(Encoder("test_vit", size=32), lesson, 0.001)
    assert found.call_count > 0


def test_the_rate_is_the_best_on_what_was_held_out(
    encoder: Encoder, pictures: Pictures, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = np.arange(64) // 4
    lesson = finetune.Lesson(pictures, manifest.every_row(), manifest.labels, size=32, steps=30, batch=16)
    seen: list[tuple[float, set[int], int]] = []

    class Fixed:
        def __init__(self, right: float) -> None:
            self.right = right

        def predict(self, pictures: Pictures, rows: np.ndarray) -> np.ndarray:
            assert not set((rows // 4).tolist()) & seen[-1][1]  # no group on both sides
            return np.where(np.arange(len(rows)) < self.right * len(rows), manifest.labels[rows], -1)

    def train(encoder: Encoder, rest: finetune.Lesson, lr: float, tell: Any) -> Fixed:
        seen.append((lr, set((rest.rows // 4).tolist()), rest.steps))
        if lr == max(RATES):
            raise TrainingError("not finite")
        return Fixed({RATES[0]: 0.4, RATES[2]: 0.9}[lr])

    monkeypatch.setattr(finetune, "train", train)
    assert finetune.choose(encoder, lesson, groups) == RATES[2]
    assert [lr for lr, _, _ in seen] == list(RATES)
    assert {steps for _, _, steps in seen} == {10}
    few = replace(lesson, rows=np.arange(8), labels=manifest.labels[:8])
    assert finetune.choose(encoder, few, groups[:8]) == RATES[0]


@pytest.mark.parametrize("rows", [np.arange(64), np.arange(20, 44)])
def test_tell_is_called_as_often_as_work_says(
    encoder: Encoder, pictures: Pictures, manifest: Manifest, rows: np.ndarray
) -> None:
    heard: list[int] = []
    tune(encoder, pictures, rows, manifest.labels[rows], size=32, steps=3, batch=4, tell=lambda: heard.append(1))
    assert len(heard) == work(3, len(rows))


def test_what_is_not_finite_stops(encoder: Encoder, pictures: Pictures, manifest: Manifest) -> None:
    broken = Encoder("test_resnet", size=32)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"stopped at step 1 at the rate 0\.0001: loss or gradient is not finite"):
        tune(broken, pictures, manifest.every_row(), manifest.labels, **SHORT)
    with pytest.raises(ValueError, match="batch norm needs two pictures"):
        tune(encoder, pictures, manifest.every_row(), manifest.labels, size=32, steps=1, batch=1)


def test_a_file_that_is_gone_has_no_class(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    manifest = everything_scanned(photos)
    gone = replace(manifest, paths=(*manifest.paths[:7], str(tmp_path / "nothing.png"), *manifest.paths[8:]))
    pictures = Pictures(gone, ranges.measure(manifest, manifest.every_row()), max_bad=1.0)
    tuned = tune(encoder, pictures, manifest.every_row(), manifest.labels, **SHORT, lr=1e-3)
    assert (tuned.predict(pictures, np.arange(6, 9)) >= 0).tolist() == [True, False, True]
