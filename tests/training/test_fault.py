"""NaN and inf where they may come from: the step changes nothing, and the tensor and its samples are named."""

from __future__ import annotations

import json
import multiprocessing
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fault_ranks
import pytest
import torch
from contract_parts import everything_scanned, recipe_of, trainer_of
from mortal import joined
from safetensors.torch import load, save, save_file

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.errors import CheckpointError, RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.weights import weights_from
from selfsight.training import state
from selfsight.training.loop import Trainer

FORKED = multiprocessing.get_context("forkserver")
NAN, BAD = float("nan"), 2  # the step that is spoiled

Batch = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


@pytest.fixture(params=["simclr", "moco"])
def trainer(request: pytest.FixtureRequest, photos: Path, manifest: Manifest, tmp_path: Path) -> Trainer:
    return trainer_of(recipe_of(request.param, photos, manifest, steps=4), manifest, tmp_path, save=3600.0)


def spoiled_batch(trainer: Trainer, change: Callable[[Batch], Batch]) -> dict[int, bool]:
    """Change the batch of step BAD; which steps changed any state."""
    honest, changed = trainer.step, {}

    def step(number: int, batch: Batch) -> None:
        before = state.pack(trainer.method, trainer.raw_optimizer)
        honest(number, change(batch) if number == BAD else batch)
        changed[number] = before != state.pack(trainer.method, trainer.raw_optimizer)

    trainer.step = step  # type: ignore[method-assign]
    return changed


def skipped(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "skipped" in line]


def floats(batch: Batch) -> Batch:
    return {**batch, "views": batch["views"].permute(0, 1, 4, 2, 3).float() / 255}


def test_one_pixel(trainer: Trainer) -> None:
    seen = []

    def spoil(batch: Batch) -> Batch:
        found = floats(batch)
        found["views"][3, :, 0, 1, 1] = NAN
        seen.append(int(batch["index"][3]))
        return found

    changed = spoiled_batch(trainer, spoil)
    trainer.fit()
    assert changed == {0: True, 1: True, BAD: False, 3: True}
    (line,) = skipped(trainer.folder)
    assert line["step"] == BAD + 1
    assert line["tensor"] == f"the views 'views' of sample {seen[0]}"
    assert len(line["samples"]) == 8


def test_the_loss(trainer: Trainer) -> None:
    honest = trainer.method.loss

    def loss(projections: Batch, batch: Batch) -> Batch:
        terms = honest(projections, batch)
        return {**terms, "loss": terms["loss"] * (float("inf") if int(batch["position"][0]) == BAD * 8 else 1)}

    trainer.method.loss = loss  # type: ignore[method-assign]
    changed = spoiled_batch(trainer, lambda batch: batch)
    trainer.fit()
    assert [step for step, moved in changed.items() if not moved] == [BAD]
    assert skipped(trainer.folder)[0]["tensor"] == "the term 'loss'"


def test_one_gradient(trainer: Trainer) -> None:
    name = "projector.0.weight"
    weight = dict(trainer.method.named_parameters())[name]
    now: list[int] = []
    weight.register_hook(lambda slope: slope * (NAN if now and now[-1] == BAD else 1))
    changed = spoiled_batch(trainer, lambda batch: batch)
    honest = trainer.step

    def step(number: int, batch: Batch) -> None:
        now.append(number)
        honest(number, batch)

    trainer.step = step  # type: ignore[method-assign]
    trainer.fit()
    assert [step for step, moved in changed.items() if not moved] == [BAD]
    assert skipped(trainer.folder)[0]["tensor"].startswith(f"the gradient of '{name}' (1 of ")


def test_running_statistics(trainer: Trainer) -> None:
    """The loss does not see them while training: without a look they would spoil the encoder in silence."""
    norm = trainer.method.encoder.backbone.bn1
    now: list[int] = []

    def spoil(*_: object) -> None:
        if now[-1] == BAD:
            norm.running_var.data[0] = NAN

    norm.register_forward_hook(spoil)
    changed = spoiled_batch(trainer, lambda batch: batch)
    honest = trainer.step

    def step(number: int, batch: Batch) -> None:
        now.append(number)
        honest(number, batch)
        now.append(-1)

    trainer.step = step  # type: ignore[method-assign]
    now.append(-1)
    trainer.fit()
    assert [step for step, moved in changed.items() if not moved] == [BAD]
    assert skipped(trainer.folder)[0]["tensor"] == "the running statistic 'encoder.backbone.bn1.running_var'"
    assert state.not_finite(trainer.method.state_dict()) is None


def test_white_pictures_do_no_harm(trainer: Trainer) -> None:
    """Every variance is 0: what comes of it is finite, or the step is skipped."""
    spoiled_batch(trainer, lambda batch: {**batch, "views": torch.full_like(batch["views"], 255)})
    trainer.fit()
    assert state.not_finite(trainer.method.state_dict()) is None


def test_a_checkpoint_that_is_not_finite_is_refused_by_name(photos: Path, manifest: Manifest, tmp_path: Path) -> None:
    recipe = recipe_of("simclr", photos, manifest, steps=2)
    trainer_of(recipe, manifest, tmp_path).fit()
    newest = checkpoints.latest(tmp_path / "checkpoints")
    assert newest is not None
    facts, files = checkpoints.read(newest)
    kept = load(files["method.safetensors"])
    kept["projector.0.weight"][0, 0] = NAN
    checkpoints.drop_after(tmp_path / "checkpoints", 1)
    files = {**files, "method.safetensors": save(kept)}
    checkpoints.write(tmp_path / "checkpoints", 2, files, {"listing": facts["listing"]})
    with pytest.raises(CheckpointError, match=r"step-00000002': 'projector\.0\.weight' is not finite; remove"):
        trainer_of(replace(recipe, steps=4), manifest, tmp_path).fit()
    checkpoints.write(tmp_path / "checkpoints", 3, {}, {})
    with pytest.raises(CheckpointError, match=r"step-00000003' does not fit .*; train anew with another --out"):
        trainer_of(replace(recipe, steps=4), manifest, tmp_path).fit()


def test_given_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    encoder = Encoder("test_resnet", size=32)
    tensors = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[name][0] = float("inf")
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(RecipeError, match=f"not finite, in '{name}'"):
        weights_from(encoder, tmp_path / "weights.safetensors")


def test_one_rank_of_two(photos: Path, tmp_path: Path) -> None:
    """Both skip the step, and rank 0 writes down what rank 1 met."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    ranks = [FORKED.Process(target=fault_ranks.run, args=(rank, port, photos, tmp_path)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    assert joined(*ranks) == [0, 0]
    (line,) = skipped(tmp_path)
    assert line["step"] == 2
    assert line["tensor"] == f"the views 'views' of sample {line['samples'][4 + 2]} on rank 1"
