"""Going on is the same as never having stopped, with any number of workers; and no piece of state could be left out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from contract_parts import BATCH, CUT, NAMES, STEPS, everything_scanned, recipe_of, results, taught
from safetensors.torch import load, save

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.errors import CheckpointError
from selfsight.recipe import Recipe
from selfsight.training import loop, session
from selfsight.training.autotune import stand_in
from selfsight.training.build import method_of
from selfsight.training.gradcache import RUNNING

GOLDEN = Path(__file__).parent / "golden"


@dataclass
class Straight:
    """An uninterrupted run, and a copy of its folder as it was after step CUT."""

    recipe: Recipe
    manifest: Manifest
    folder: Path
    cut: Path

    def go_on(self, folder: Path, workers: int = 0, save_every: float = 3600.0) -> dict[str, bytes]:
        folder.mkdir(exist_ok=True)
        session.stages(self.recipe, self.manifest, folder, workers=workers, save_every=save_every, quiet=True)
        return results(folder)


@pytest.fixture(scope="module", params=NAMES)
def straight(
    request: pytest.FixtureRequest, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Straight]:
    data = taught(request.param, samples)
    manifest = everything_scanned(data)
    folder = tmp_path_factory.mktemp(request.param)
    run = Straight(recipe_of(request.param, data, manifest), manifest, folder / "straight", folder / "cut")
    after = loop.Trainer.after

    def copying(self: loop.Trainer, step: int, signals: object) -> None:
        after(self, step, signals)  # type: ignore[arg-type]
        if step == CUT and self.folder == run.folder:
            shutil.copytree(run.folder, run.cut)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "after", copying)
        run.go_on(run.folder, save_every=0.0)
    yield run
    shutil.rmtree(folder)


def copied(run: Straight, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.cut, tmp_path / "again"))


def test_going_on_inside_an_epoch_is_exact(straight: Straight, tmp_path: Path) -> None:
    assert straight.go_on(copied(straight, tmp_path)) == results(straight.folder)


def test_going_on_at_an_epochs_boundary_is_exact(straight: Straight, tmp_path: Path) -> None:
    """From step 16, whose checkpoint is from before `on_epoch_start`."""
    boundary = STEPS // straight.recipe.epoch_steps * straight.recipe.epoch_steps
    assert boundary == 16
    again = copied(straight, tmp_path)
    after = loop.Trainer.after

    def stopping(self: loop.Trainer, step: int, signals: object) -> None:
        after(self, step, signals)  # type: ignore[arg-type]
        if step == boundary:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "after", stopping)
        with pytest.raises(KeyboardInterrupt):
            straight.go_on(again, save_every=0.0)
    assert straight.go_on(again) == results(straight.folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(straight: Straight, tmp_path: Path, workers: int) -> None:
    assert straight.go_on(tmp_path / "again", workers) == results(straight.folder)


def test_a_finished_run_is_left_as_it_is(straight: Straight, tmp_path: Path) -> None:
    again = Path(shutil.copytree(straight.folder, tmp_path / "again"))
    assert straight.go_on(again) == results(straight.folder)


def test_metrics_have_every_step_once(straight: Straight) -> None:
    lines = [json.loads(line) for line in (straight.folder / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in trained] == [step // 8 for step in range(STEPS)]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def test_golden_curve(straight: Straight) -> None:
    """20 steps on 64 pictures. WRITE_GOLDEN=1 writes the file anew: a line in the changelog says why."""
    lines = [json.loads(line) for line in (straight.folder / "metrics.jsonl").read_text().splitlines()]
    curve = [line["loss"] for line in lines if "loss" in line]
    file = GOLDEN / f"{straight.recipe.method}.json"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(
            json.dumps({"batch": BATCH, "encoder": straight.recipe.encoder, "loss": curve}, indent=1) + "\n"
        )
    assert curve == pytest.approx(json.loads(file.read_text())["loss"], rel=1e-4)


def piece_of(name: str) -> str:
    """The piece of state that a tensor of `state_dict` belongs to."""
    first, _, rest = name.partition(".")
    if rest.rpartition(".")[2] in RUNNING:
        return f"{first}'s running statistics"
    return name if first in ("queue", "partition") else first


def rewritten(folder: Path, files: dict[str, bytes]) -> None:
    newest = checkpoints.latest(folder / "checkpoints")
    assert newest is not None
    facts, old = checkpoints.read(newest)
    shutil.rmtree(folder / "checkpoints")
    checkpoints.write(folder / "checkpoints", facts.pop("step"), {**old, **files}, facts)


def state_at_cut(run: Straight) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    newest = checkpoints.latest(run.cut / "checkpoints")
    assert newest is not None
    assert newest.name == f"step-{CUT:08d}"
    files = checkpoints.read(newest)[1]
    return load(files["method.safetensors"]), load(files["optimizer.safetensors"])


def test_any_piece_of_state_that_is_reset_is_missed(straight: Straight, tmp_path: Path) -> None:
    """The mutation test: a run that goes on with one piece as it was at the start ends differently, every time."""
    recipe = straight.recipe
    start = method_of(recipe, stand_in(recipe.before) if recipe.before else None).state_dict()
    kept, _ = state_at_cut(straight)
    pieces = sorted({piece_of(name) for name in kept})
    unnoticed = []
    for number, piece in enumerate(pieces):
        mutant = {name: start[name] if piece_of(name) == piece else tensor for name, tensor in kept.items()}
        folder = Path(shutil.copytree(straight.cut, tmp_path / str(number)))
        rewritten(folder, {"method.safetensors": save({k: t.contiguous().clone() for k, t in mutant.items()})})
        if straight.go_on(folder) == results(straight.folder):
            unnoticed.append(piece)
    assert not unnoticed


def test_the_optimizers_memory_is_missed(straight: Straight, tmp_path: Path) -> None:
    _, slots = state_at_cut(straight)
    assert slots
    folder = copied(straight, tmp_path)
    rewritten(folder, {"optimizer.safetensors": save({})})
    assert straight.go_on(folder) != results(straight.folder)


def test_a_tensor_that_is_not_there_is_refused(straight: Straight, tmp_path: Path) -> None:
    kept, _ = state_at_cut(straight)
    name = sorted(kept)[-1]
    folder = copied(straight, tmp_path)
    rewritten(folder, {"method.safetensors": save({key: kept[key] for key in kept if key != name})})
    with pytest.raises(CheckpointError, match="does not fit"):
        straight.go_on(folder)


def test_the_stage_before_is_missed(straight: Straight, tmp_path: Path) -> None:
    """What the run takes from the method before is in its own checkpoint; without it the stage is trained again."""
    if straight.recipe.before is None:
        assert not (straight.folder / "stages").exists()
        return
    folder = copied(straight, tmp_path)
    shutil.rmtree(folder / "stages")
    assert straight.go_on(folder) == results(straight.folder)
