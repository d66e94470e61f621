"""Going on is the same as never having stopped, with any number of workers; and no piece of state could be left out.

All of it on pictures of which some are held out: those training never reads.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_parts import BATCH, CUT, NAMES, STEPS, everything_scanned, recipe_of, results, taught, with_test_part
from safetensors.torch import load, save
from torch import nn

from selfsight import checkpoints
from selfsight.data.loader import Loader
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.errors import CheckpointError
from selfsight.recipe import Recipe
from selfsight.training import guard, loop, session
from selfsight.training.autotune import stand_in
from selfsight.training.build import method_of
from selfsight.training.gradcache import RUNNING

GOLDEN = Path(__file__).parent / "golden"
WRITTEN_ON = "AuthenticAMD"  # whose processors a curve is of that names none
ALIKE = 3  # steps that are the same on another's: its kernels round otherwise, and each step makes more of it
LOOKS = {"monitor_pictures": 32}  # as many as the guard's glance has
CONSTANT = {"scale", "shift", "places"}  # buffers that no run changes


@dataclass
class Straight:
    """An uninterrupted run, and a copy of its folder as it was after step CUT."""

    recipe: Recipe
    manifest: Manifest
    folder: Path
    cut: Path
    read: set[int] = field(default_factory=set)  # rows whose samples were asked for

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it wrote down, step by step."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def go_on(self, folder: Path, workers: int = 0, save_every: float = 3600.0) -> dict[str, bytes]:
        folder.mkdir(exist_ok=True)
        session.stages(self.recipe, self.manifest, folder, workers=workers, save_every=save_every, quiet=True)
        return results(folder)


@pytest.fixture(scope="module", autouse=True)
def guarded() -> Iterator[None]:
    """The guard looks at step 0, in the middle and at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "EVERY", STEPS // 2)
        yield


@pytest.fixture(scope="module", params=NAMES)
def straight(
    request: pytest.FixtureRequest, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Straight]:
    data = taught(request.param, samples)
    manifest = with_test_part(everything_scanned(data))
    folder = tmp_path_factory.mktemp(request.param)
    run = Straight(recipe_of(request.param, data, manifest, **LOOKS), manifest, folder / "straight", folder / "cut")
    after, read = loop.Trainer.after, Pictures.read

    def reading(self: Pictures, row: int, *among: Any) -> Any:
        run.read.add(row)
        return read(self, row, *among)

    def copying(self: loop.Trainer, step: int, signals: object) -> None:
        after(self, step, signals)  # type: ignore[arg-type]
        if step == CUT and self.folder == run.folder:
            shutil.copytree(run.folder, run.cut)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "read", reading)
        patch.setattr(loop.Trainer, "after", copying)
        run.go_on(run.folder, save_every=0.0)
    yield run
    shutil.rmtree(folder)


def copied(run: Straight, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run.cut, tmp_path / "again"))


def plain(recipe: Recipe) -> Recipe:
    """The recipe without what names the listing."""
    return replace(recipe, listing="", use_all=False, before=recipe.before and plain(recipe.before))


def test_the_test_part_is_never_read_and_decides_nothing(straight: Straight) -> None:
    """The golden curves are of the training samples alone, so they say so too."""
    assert straight.read
    assert straight.read <= set(straight.manifest.train_rows().tolist())
    data = Path(straight.recipe.data[0])
    assert plain(straight.recipe) == plain(recipe_of(straight.recipe.method, data, everything_scanned(data), **LOOKS))


def test_a_healthy_run_raises_no_alarm(straight: Straight) -> None:
    assert [line["step"] for line in straight.lines if "sign.std" in line] == [0, STEPS // 2, STEPS]
    assert [line for line in straight.lines if "alarm" in line] == []


def test_going_on_inside_an_epoch_is_exact_and_replays_nothing(
    straight: Straight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collate, positions = Loader.collate, []

    def collating(self: Loader, indices: Any, first: int) -> dict[str, torch.Tensor]:
        positions.append(first)
        return collate(self, indices, first)

    monkeypatch.setattr(Loader, "collate", collating)
    assert straight.go_on(copied(straight, tmp_path)) == results(straight.folder)
    assert positions == [BATCH * step for step in range(CUT, STEPS)]


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
    """In the rest of an epoch and the beginning of the next; from the start on in test_contract_kill."""
    assert straight.go_on(copied(straight, tmp_path), workers) == results(straight.folder)


def test_a_finished_run_is_left_as_it_is(straight: Straight, tmp_path: Path) -> None:
    again = Path(shutil.copytree(straight.folder, tmp_path / "again"))
    assert straight.go_on(again) == results(straight.folder)


def test_metrics_have_every_step_once(straight: Straight) -> None:
    lines = straight.lines
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in trained] == [step // 8 for step in range(STEPS)]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def _vendor() -> str:
    """Who made the processor, where Linux tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("vendor_id")), "")


def test_golden_curve(straight: Straight) -> None:
    """20 steps on 64 pictures. WRITE_GOLDEN=1 writes the file anew: a line in the changelog says why."""
    curve = [line["loss"] for line in straight.lines if "loss" in line]
    file = GOLDEN / f"{straight.recipe.method}.json"
    if os.environ.get("WRITE_GOLDEN"):
        made = {"batch": BATCH, "encoder": straight.recipe.encoder, "vendor": _vendor(), "loss": curve}
        file.write_text(json.dumps(made, indent=1) + "\n")
    golden = json.loads(file.read_text())
    steps = len(curve) if _vendor() == golden.get("vendor", WRITTEN_ON) else ALIKE
    assert len(curve) == len(golden["loss"])
    assert curve[:steps] == pytest.approx(golden["loss"][:steps], rel=1e-4)


def pieces_of(method: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """The tensors of `state_dict`, by pieces: weights by the part they are of, running statistics too, else each."""
    buffers, pieces = dict(method.named_buffers()), dict[str, list[str]]()
    for name in names:
        first, last = name.split(".")[0], name.split(".")[-1]
        part = f"{first}'s running statistics" if last in RUNNING else name if name in buffers else first
        pieces.setdefault(part, []).append(name)
    return pieces


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


class Noticed(Exception):  # noqa: N818 - no error
    """A run has written another line than the uninterrupted one."""


def missed(run: Straight, folder: Path, file: str, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether a run that goes on from step CUT with these tensors differs: in a line, which ends it, or at the end."""
    shutil.copytree(run.cut, folder)
    rewritten(folder, {file: save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})})
    lines, note = run.lines, loop.Trainer.note

    def noting(self: loop.Trainer, step: int, **values: Any) -> None:
        note(self, step, **values)
        if {"step": step, **values} not in lines:
            raise Noticed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "note", noting)
        try:
            return run.go_on(folder) != results(run.folder)
        except Noticed:
            return True


def test_any_piece_of_state_that_is_reset_is_missed(straight: Straight, tmp_path: Path) -> None:
    """The mutation test: a run that goes on with one piece as it was at the start ends differently, every time."""
    recipe = straight.recipe
    method = method_of(recipe, stand_in(recipe.before) if recipe.before else None)
    start, (kept, _) = method.state_dict(), state_at_cut(straight)
    unnoticed, still = [], set()
    for number, (piece, names) in enumerate(pieces_of(method, kept).items()):
        if all(torch.equal(start[name], kept[name]) for name in names):
            still.add(piece.rpartition(".")[2])
        elif not missed(
            straight, tmp_path / str(number), "method.safetensors", kept | {name: start[name] for name in names}
        ):
            unnoticed.append(piece)
    assert not unnoticed
    assert still <= CONSTANT


def test_each_kind_of_the_optimizers_memory_is_missed(straight: Straight, tmp_path: Path) -> None:
    _, slots = state_at_cut(straight)
    kinds = {name.partition(".")[2] for name in slots}
    assert kinds in ({"momentum_buffer"}, {"momentum"}, {"exp_avg", "exp_avg_sq", "step"})
    for kind in kinds:
        lost = {name: t.zero_() if name.endswith(f".{kind}") else t for name, t in state_at_cut(straight)[1].items()}
        assert missed(straight, tmp_path / kind, "optimizer.safetensors", lost), kind


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
