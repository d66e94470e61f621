"""--keep: which look's encoder is the run's, the same after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_parts import everything_scanned, recipe_of, trainer_of

from selfsight.data.manifest import Manifest
from selfsight.training.best import Best
from selfsight.training.loop import Trainer

SCORES = {0: 9.0, 2: 3.0, 4: 5.0, 6: 5.0, 8: 4.0}


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


def scored(photos: Path, manifest: Manifest, folder: Path, keep: str) -> Trainer:
    """A run of 8 steps whose looks have the ranks of SCORES."""
    trainer = trainer_of(recipe_of("simclr", photos, manifest, steps=8, monitor_points=4, keep=keep), manifest, folder)
    look = trainer.look

    def told(step: int) -> None:
        trainer.data.monitor.look = lambda *asked: {"rankme": SCORES[step]}  # type: ignore[method-assign]
        look(step)

    trainer.look = told  # type: ignore[method-assign]
    return trainer


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in trainer.method.product.state_dict().values()]


def at_step(trainer: Trainer, wanted: int) -> list[list[torch.Tensor]]:
    """Train, and give the encoder as it was at that step."""
    seen: list[list[torch.Tensor]] = []
    after = trainer.after

    def copying(step: int, signals: Any) -> None:
        after(step, signals)
        if step == wanted:
            seen.append(weights(trainer))

    trainer.after = copying  # type: ignore[method-assign]
    trainer.fit()
    return seen


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("keep", "step"), [("last", 8), ("best-rankme", 4)])
def test_the_encoder_is_that_of_the_look(
    photos: Path, manifest: Manifest, tmp_path: Path, keep: str, step: int
) -> None:
    """The first of the best, never the untrained one; a finished run that is opened again gives it too."""
    trainer = scored(photos, manifest, tmp_path, keep)
    (then,) = at_step(trainer, step)
    assert equal(weights(trainer), then)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("kept")] == ([2, 4] if keep == "best-rankme" else [])
    again = scored(photos, manifest, tmp_path, keep)
    again.fit()
    assert equal(weights(again), then)


def test_a_restart_keeps_the_same(photos: Path, manifest: Manifest, tmp_path: Path) -> None:
    trainer = scored(photos, manifest, tmp_path, "best-rankme")
    after = trainer.after
    then: list[torch.Tensor] = []

    def stopping(step: int, signals: Any) -> None:
        after(step, signals)
        if step == 4:
            then.extend(weights(trainer))
        if step == 7:
            raise KeyboardInterrupt

    trainer.after = stopping  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    again = scored(photos, manifest, tmp_path, "best-rankme")
    again.fit()
    assert again.best.step == 4
    assert equal(weights(again), then)


def test_what_has_no_score_is_not_taken() -> None:
    best = Best("best-rankme")
    assert not best.offer(3, {"quality": 1.0}, torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    assert best.pack() == {}
