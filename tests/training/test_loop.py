"""What the loop says and leaves behind at its edges; that it learns and resumes is the contract's to test."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_parts import everything_scanned, recipe_of, same, snapshot, trainer_of
from rich.console import Console

from selfsight.data.bad import BadFile
from selfsight.data.manifest import Manifest
from selfsight.recipe import Recipe
from selfsight.training.loop import Trainer
from selfsight.training.progress import Watcher


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


@pytest.fixture(scope="module")
def recipe(photos: Path, manifest: Manifest) -> Recipe:
    return recipe_of("simclr", photos, manifest, steps=3)


def test_the_first_look_is_no_straw_man_and_changes_nothing(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    trainer = trainer_of(recipe, manifest, tmp_path)
    seen: list[Any] = []
    look = trainer.data.monitor.look

    def looked(encoder: Any, autocast: Any) -> dict[str, float]:
        before, random = snapshot(trainer.method), torch.get_rng_state()
        found = look(encoder, autocast)
        assert same(before, snapshot(trainer.method)) == []
        assert torch.equal(torch.get_rng_state(), random)
        seen.append(encoder)
        return found

    trainer.data.monitor.look = looked  # type: ignore[method-assign]
    trainer.fit()
    assert seen[0] is not trainer.method.product
    assert all(encoder is trainer.method.product for encoder in seen[1:])
    calibrated = look(
        trainer.data.monitor.calibrated(trainer_of(recipe, manifest, tmp_path).method.product), torch.no_grad
    )
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0
    assert first["rankme"] == pytest.approx(calibrated["rankme"], rel=1e-4)


def test_what_is_said_before_step_1_is_kept_once_whoever_looks_on(
    recipe: Recipe, manifest: Manifest, tmp_path: Path
) -> None:
    def begun() -> Trainer:
        trainer = trainer_of(recipe, manifest, tmp_path)
        trainer.method.prepare = lambda data: data.say("nothing is upright here")  # type: ignore[method-assign]
        return trainer

    killed = begun()
    killed.step = None  # type: ignore[assignment, method-assign]
    with pytest.raises(TypeError):
        killed.fit()
    begun().fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    said = [line for line in lines if "sentence" in line]
    assert said == [{"step": 0, "sentence": "nothing is upright here"}]


def test_given_statistics_are_not_estimated_anew(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    trainer = trainer_of(recipe, manifest, tmp_path)
    trainer.recipe = replace(recipe, weights="given.pt")
    trainer.data.monitor.calibrated = None  # type: ignore[assignment, method-assign]
    trainer.fit()


def test_bad_files_are_written_however_training_ends(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    trainer = trainer_of(recipe, manifest, tmp_path)
    noted: list[bool] = []

    def stop(step: int, batch: Any) -> None:
        trainer.data.note_bad_files = lambda: noted.append(True)  # type: ignore[method-assign]
        raise RuntimeError("a fault")

    trainer.step = stop  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a fault"):
        trainer.fit()
    assert noted


def test_the_clock_goes_on_from_the_save(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    """What steps took counts once: also those behind the last look, and not those that were undone."""
    recipe, lines = replace(recipe, monitor_points=1), tmp_path / "timing.jsonl"
    stopped = trainer_of(recipe, manifest, tmp_path)
    took = stopped.step

    def step(number: int, batch: Any) -> None:
        if number == 2:
            raise RuntimeError("a fault")
        took(number, batch)

    stopped.step = step  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a fault"):
        stopped.fit()
    clock = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [line["step"] for line in clock] == [0, 1, 2]
    clock[2]["seconds"] = 1000.0
    clock.append({"step": 3, "seconds": 5000.0})
    lines.write_text("".join(json.dumps(line) + "\n" for line in clock))
    trainer_of(recipe, manifest, tmp_path).fit()
    again = [json.loads(line) for line in lines.read_text().splitlines()]
    assert again[:3] == clock[:3]
    assert [line["step"] for line in again] == [0, 1, 2, 3]
    assert 1000 < again[3]["seconds"] < 5000


def test_the_first_few_bad_files_are_named_once(recipe: Recipe) -> None:
    watcher, said = Watcher(recipe), []
    watcher.say = said.append  # type: ignore[method-assign]
    bad = [BadFile(f"{number}.png", "truncated") for number in range(5)]
    for count in (0, 1, 1, 2, 5):
        watcher.bad_files(bad[:count])
    assert [line.split(" ")[0] for line in said] == ["'0.png'", "'1.png'", "'2.png'"]
    assert "further ones are only listed" in said[-1]


def test_who_says_it_is_told_where_there_are_several(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a small network that tries views, and whose collapse is not the run's."""
    Watcher(recipe, title="views simclr-turns: ").warn(100, "dead_dimensions", "half is dead")
    assert capsys.readouterr().err == "views simclr-turns: step 100: half is dead\n"


@pytest.mark.parametrize("kind", ["terminal", "notebook", "pipe"])
def test_one_live_line_on_a_terminal_and_plain_ones_elsewhere(
    recipe: Recipe, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    file, jupyter = io.StringIO(), kind == "notebook"
    watcher = Watcher(recipe)
    watcher.console = Console(file=file, force_terminal=kind == "terminal", force_jupyter=jupyter, width=100)
    with watcher:
        for step in (1, 2, 3):
            watcher.terms({"loss": 1 / step})
            watcher.step(step, 0.1)
        watcher.quality(3, {"quality": 0.5, "rankme": 7.0})
    plain, live = capsys.readouterr().err.splitlines(), file.getvalue()
    last = "step 3/3 · "
    if kind == "terminal":
        assert not plain
        assert last in live
        assert "images/s · 0:00 left · loss 0.333 · quality 0.500 · rank 7" in live
        assert live.count("\n") == 1, "it is one line, written anew"
    else:
        assert not live
        assert [line[: len(last)] for line in plain] == ["step 1/3 · ", last, last], "at first, at a look, at the end"
        assert plain[-1].endswith("loss 0.333 · quality 0.500 · rank 7")


def test_a_damaged_checkpoint_is_a_sentence(recipe: Recipe, manifest: Manifest, tmp_path: Path) -> None:
    trainer_of(recipe, manifest, tmp_path).fit()
    (tmp_path / "checkpoints" / "step-00000003" / "manifest.json").write_bytes(b"{}")
    again, said = trainer_of(recipe, manifest, tmp_path), []
    again.watcher.say = said.append  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.restore() == 2
    assert len(said) == 1
    assert "going on from step-00000002" in said[0]


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("micro", [16, 8])
def test_the_network_runs_in_the_precision_of_the_recipe(
    recipe: Recipe, manifest: Manifest, tmp_path: Path, precision: str, expected: torch.dtype, micro: int
) -> None:
    """Fabric brings its autocast to a marked method only where DDP wraps it: a run on one device must have it too."""
    trainer = trainer_of(replace(recipe, precision=precision, micro_batch=micro, steps=1), manifest, tmp_path)
    seen = set()
    first = next(part for part in trainer.method.encoder.modules() if isinstance(part, torch.nn.Conv2d))
    first.register_forward_hook(lambda module, given, out: seen.add(out.dtype) if module.training else None)
    trainer.fit()
    assert seen == {expected}
