"""A step that is not finite changes nothing, a full disk costs a save, and looking on leaves no trace."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import contract_driver
import numpy as np
import pytest
import torch
from contract_parts import BATCH, NAMES, everything_scanned, made, recipe_of, same, snapshot, taught, trainer_of

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.errors import DiskError, DivergedError, Interrupted, TrainingError
from selfsight.recipe import Recipe
from selfsight.training import autotune, bare, loop, state
from selfsight.training.bare import Bare
from selfsight.training.build import method_of
from selfsight.training.loop import Trainer

Spoiled = Callable[[int], bool]
LOOKS = {"monitor_points": 1, "monitor_pictures": 16}  # one, at a few: that more change nothing has a test of its own


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    contract_driver.narrow(monkeypatch.setattr)


@pytest.fixture
def manifest(recipe: Recipe) -> Manifest:
    return everything_scanned(Path(recipe.data[0]))


@pytest.fixture(params=NAMES)
def recipe(request: pytest.FixtureRequest, samples: Path) -> Recipe:
    data = taught(request.param, samples)
    return recipe_of(request.param, data, everything_scanned(data), steps=8, **LOOKS)


def spoil_loss(trainer: Trainer, at: Spoiled) -> None:
    """The loss is NaN at the steps that `at` names."""
    honest = trainer.method.loss

    def loss(projections: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        terms = honest(projections, batch)
        bad = at(int(batch["position"][0]) // BATCH)
        return {**terms, "loss": terms["loss"] * float("nan")} if bad else terms

    trainer.method.loss = loss  # type: ignore[method-assign]


def spoil_gradient(trainer: Trainer, at: Spoiled) -> None:
    """The loss is finite, one gradient is infinite."""
    weight = next(p for p in trainer.method.parameters() if p.requires_grad)
    weight.register_hook(
        lambda slope: slope * float("inf") if at(round(trainer.method.progress * trainer.recipe.steps)) else slope
    )


def watch_steps(trainer: Trainer) -> dict[int, bool]:
    """For each step whether it changed anything that a checkpoint holds."""
    changed: dict[int, bool] = {}
    honest = trainer.step

    def step(number: int, batch: Any) -> None:
        before = state.pack(trainer.method, trainer.raw_optimizer)
        honest(number, batch)
        changed[number] = before != state.pack(trainer.method, trainer.raw_optimizer)

    trainer.step = step  # type: ignore[method-assign]
    return changed


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient])
@pytest.mark.parametrize("micro", [BATCH, BATCH // 4])
def test_a_step_that_is_not_finite_changes_nothing(
    recipe: Recipe, manifest: Manifest, tmp_path: Path, spoil: Callable[[Trainer, Spoiled], None], micro: int
) -> None:
    trainer = trainer_of(replace(recipe, micro_batch=micro, steps=6), manifest, tmp_path, save=3600.0)
    spoil(trainer, lambda step: step in (1, 3, 4))
    changed = watch_steps(trainer)
    said: list[str] = []
    trainer.watcher.say = said.append  # type: ignore[method-assign]
    trainer.fit()
    assert changed == {step: step not in (1, 3, 4) for step in range(6)}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("skipped")] == [2, 4, 5]
    faults = [sentence for sentence in said if "not finite" in sentence]  # `prepare` may have said something too
    assert len(faults) == 3
    assert "step 2" in faults[0]
    assert checkpoints.latest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-00000006"


def test_three_in_a_row_stop_the_run_and_the_last_checkpoint_stands(
    recipe: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    trainer = trainer_of(recipe, manifest, tmp_path)
    spoil_loss(trainer, lambda step: step >= 3)
    with pytest.raises(TrainingError, match="not finite"):
        trainer.fit()
    newest = checkpoints.latest(tmp_path / "checkpoints")
    assert newest is not None
    assert checkpoints.read(newest)[1] == state.pack(trainer.method, trainer.raw_optimizer)
    again = trainer_of(recipe, manifest, tmp_path)
    again.fit()
    assert all(torch.isfinite(p).all() for p in again.method.parameters())


def test_a_full_disk_costs_the_save_not_the_run(
    recipe: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(recipe, manifest, tmp_path)
    said: list[str] = []
    trainer.watcher.say = said.append  # type: ignore[method-assign]
    write, now = checkpoints._write_synced, [0]
    after = trainer.after

    def full(path: Path, content: bytes) -> None:
        if 3 <= now[0] < 6 and "step-" in str(path):
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    def counted(step: int, signals: Any) -> None:
        now[0] = step
        after(step, signals)
        expected = 2 if 3 <= step < 6 else step
        assert checkpoints.latest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / f"step-{expected:08d}"
        assert not list((tmp_path / "checkpoints").glob("*.tmp-*"))

    monkeypatch.setattr(checkpoints, "_write_synced", full)
    trainer.after = counted  # type: ignore[method-assign]
    trainer.fit()
    assert now[0] == 8
    faults = [sentence for sentence in said if "No space left" in sentence]
    assert len(faults) == 3
    assert " MB " in faults[0]


@pytest.mark.parametrize("step", [0, 2])
def test_a_save_that_must_be_stops_with_the_reason(
    recipe: Recipe, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The first checkpoint proves that there is room; the last one is the result."""
    recipe = replace(recipe, steps=2)
    trainer = trainer_of(recipe, manifest, tmp_path)
    write = checkpoints._write_synced

    def full(path: Path, content: bytes) -> None:
        if f"step-{step:08d}" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write_synced", full)
        with pytest.raises(DiskError, match=f"step {step} needs .* MB"):
            trainer.fit()
    trainer_of(recipe, manifest, tmp_path).fit()


def test_a_journal_that_cannot_be_synced_costs_the_save_not_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk shows itself wherever something is written: the journal comes before the checkpoint."""
    manifest = everything_scanned(photos)
    trainer = trainer_of(recipe_of("simclr", photos, manifest, steps=8), manifest, tmp_path)
    said: list[str] = []
    trainer.watcher.say = said.append  # type: ignore[method-assign]
    honest, calls = loop.Journal.sync, [0]

    def sync(self: loop.Journal) -> None:
        calls[0] += 1
        if calls[0] in (4, 5):
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(self)

    monkeypatch.setattr(loop.Journal, "sync", sync)
    trainer.fit()
    assert len(said) == 2
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))


def test_looking_leaves_no_trace(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    trainer = trainer_of(replace(recipe, steps=2), manifest, tmp_path)
    trainer.fit()
    trainer.journal = loop.Journal(tmp_path, 2)
    modes = {name: module.training for name, module in trainer.method.named_modules()}
    before, generator = state.pack(trainer.method, trainer.raw_optimizer), torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    trainer.look(2)
    trainer.data.features(trainer.method)
    list(trainer.data.images())
    assert before == state.pack(trainer.method, trainer.raw_optimizer)
    assert torch.equal(generator, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])
    assert modes == {name: module.training for name, module in trainer.method.named_modules()}
    trainer.journal.close()


def test_more_looks_change_no_weight(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    packed = []
    for points in (1, 4):
        looking = replace(recipe, steps=4, monitor_points=points)
        trainer = trainer_of(looking, manifest, tmp_path / str(points), save=3600.0)
        trainer.fit()
        packed.append(state.pack(trainer.method, trainer.raw_optimizer))
    assert packed[0] == packed[1]


def test_a_network_that_is_not_finite_is_not_measured(photos: Path, tmp_path: Path) -> None:
    """A look at it must not end the run before the steps have said what is wrong."""
    manifest = everything_scanned(photos)
    trainer = trainer_of(recipe_of("simclr", photos, manifest, steps=8, monitor_points=8), manifest, tmp_path)
    honest = trainer.step

    def step(number: int, batch: Any) -> None:
        honest(number, batch)
        if number == 2:
            next(trainer.method.encoder.parameters()).data.fill_(float("inf"))

    trainer.step = step  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"step 6: 3 steps in a row.* anew with another --out and a lower"):
        trainer.fit()


@pytest.mark.parametrize("at", [3, 8])
def test_a_signal_is_heard_at_every_save_and_tells_what_is_saved(photos: Path, tmp_path: Path, at: int) -> None:
    """Also while the last one is written; and where the disk is full for every one but the first."""
    manifest = everything_scanned(photos)
    trainer = trainer_of(recipe_of("simclr", photos, manifest, steps=8), manifest, tmp_path, save=3600.0)
    after, write = trainer.after, trainer.write

    def asked(step: int, signals: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM) if step == at < 8 else None
        after(step, signals)

    def full(step: int, *rest: Any) -> None:
        if step == at == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        elif step > 0:
            raise DiskError("the disk is full")
        write(step, *rest)

    trainer.after, trainer.write = asked, full  # type: ignore[method-assign]
    told = "stopped after step 3 of 8, of which 0 are saved" if at == 3 else "stopped after step 8 of 8; go on with"
    with pytest.raises(Interrupted, match=told):
        trainer.fit()


def test_measuring_speed_leaves_no_trace(recipe: Recipe, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "ROOM", 2**16)  # bytes of the rows that the loss is measured on: these do not matter
    stage = autotune.stand_in(recipe.before) if recipe.before else None
    before = snapshot(method_of(recipe, stage))
    generator = torch.get_rng_state()
    speed = autotune.measure(replace(recipe, micro_batch=recipe.batch // 2), manifest, fixed="fp32")
    assert speed.seconds > 0
    assert torch.equal(generator, torch.get_rng_state())
    assert not same(before, snapshot(method_of(recipe, stage)))


def test_dropout_in_a_measured_step_leaves_the_generator_alone(photos: Path) -> None:
    recipe = recipe_of("simclr", photos, everything_scanned(photos))
    generator = torch.get_rng_state()
    method = made("simclr")
    method.encoder.backbone.drop_rate = 0.5
    method.projector.append(torch.nn.Dropout(0.5))
    batch = {"views": torch.zeros(4, 2, 32, 32, 3, dtype=torch.uint8)}
    Bare(recipe, method, batch)
    assert torch.equal(generator, torch.get_rng_state())
