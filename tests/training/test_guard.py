"""The guard: each cause from the lines of a run, planted in real runs, exact after a restart, and without a trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_parts import everything_scanned, made, recipe_of, trainer_of

from selfsight.clusters.partition import Partition
from selfsight.data.manifest import Manifest
from selfsight.errors import TrainingError
from selfsight.training import guard, signs, state
from selfsight.training.guard import CAUSES, EVERY, Guard

HEALTHY = {"size": 0.8, "std": 0.75, "directions": 18.0, "still": 0.0, "moved": 1e-3, "head.views": 0.9}
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


@pytest.fixture(scope="module")
def collapse() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))
    yield __import__("collapse")
    sys.path.remove(str(BENCHMARKS))


def told(
    steps: int = 200, loss: Any = lambda step: 3.0 - step / 200, chance: float = log(4), **changes: float
) -> list[tuple[int, str]]:
    """What a guard says over a run that is healthy but for these signs."""
    watching, found = Guard(0.1, lambda: chance), []
    lines: list[dict[str, Any]] = [{"step": 0, **marked({k: v for k, v in HEALTHY.items() if "." not in k})}]
    for step in range(1, steps + 1):
        lines.append({"step": step, "loss": loss(step)})
        if step % EVERY == 0:
            lines.append({"step": step, **marked(HEALTHY | changes)})
    for line in lines:
        found += [(line["step"], alarm.cause) for alarm in watching.note(line)]
    return found


def marked(values: dict[str, float]) -> dict[str, float]:
    return {guard.SIGN + name: value for name, value in values.items()}


def test_silence_over_a_healthy_run() -> None:
    assert told(2000) == []


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("not_finite", {"finite": 0.0}),
        ("alike_pictures", {"alike": 1.0, "std": 0.0}),
        ("complete_collapse", {"std": 1e-4}),
        ("complete_collapse", {"std": 0.02}),
        ("complete_collapse", {"size": 1e-6}),
        ("dimensional_collapse", {"directions": 2.0}),
        ("dead_dimensions", {"still": 0.5}),
        ("constant_head", {"head.views": 0.0}),
        ("frozen_teacher", {"teacher.teacher": 0.0}),
        ("stale_queue", {"queue.queue": 0.0}),
        ("empty_clusters", {"clusters": 40.0, "clusters_used": 12.0, "largest": 0.2}),
        ("empty_clusters", {"clusters": 2.0, "clusters_used": 1.0, "largest": 1.0}),
        ("one_code", {"codes.codes": 1.0}),
    ],
)
def test_each_cause_is_told_once_within_200_steps(cause: str, changes: dict[str, float]) -> None:
    assert told(400, **changes) == [(2 * EVERY, cause)]


def test_a_loss_at_chance() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 1000)
    assert told(loss=lambda step: log(4) + noise[step]) == [(150, "stuck_at_chance")]
    assert told(loss=lambda step: log(4) - 0.01 + noise[step]) == [], "it comes down, if slowly"
    assert told(loss=lambda step: noise[step], chance=0.0) == [(150, "stuck_at_chance")], "a mean cosine"
    assert told(loss=lambda step: noise[step] - 0.01, chance=0.0) == []


def test_a_loss_that_passes_chance_from_above() -> None:
    """Its mean is within 1 % of it at two glances, and it falls all the while; where it comes to rest there, it is."""
    noise = np.random.default_rng(0).normal(0, 0.005, 1000)
    assert told(400, loss=lambda step: 1.02 * log(4) - step / 8000 + noise[step]) == []
    rests = [max(1.03 - step / 2000, 1.0) * log(4) + noise[step] for step in range(401)]
    assert told(400, loss=rests.__getitem__) == [(200, "stuck_at_chance")]


@pytest.mark.parametrize(("pictures", "healthy"), [(2, 1.0), (3, 1.8), (4, 2.5), (5, 2.8)])
def test_few_pictures_have_few_directions(pictures: int, healthy: float) -> None:
    """N of them span N - 1, which is no collapse; half of that is."""
    for count, found, causes in (
        (pictures, healthy, []),
        (pictures, 0.5 * (pictures - 1), ["dimensional_collapse"]),
        (32, healthy, ["dimensional_collapse"]),
    ):
        watching, signs_now = Guard(0.1, lambda: None), HEALTHY | {"pictures": float(count), "directions": found}
        lines = [{"step": step, **marked(signs_now)} for step in (50, 100)]
        assert [alarm.cause for line in lines for alarm in watching.note(line)] == causes


def test_one_glance_is_no_alarm() -> None:
    watching = Guard(0.1, lambda: None)
    dead = {"step": 50, **marked(HEALTHY | {"still": 1.0})}
    assert watching.note(dead) == []
    assert watching.note({"step": 100, **marked(HEALTHY)}) == []
    assert watching.note(dead) == []


def test_what_stands_still_beside_a_network_that_does_too_is_no_fault() -> None:
    assert told(moved=0.0, **{"teacher.teacher": 0.0}) == []


def test_a_teacher_that_has_followed_may_come_to_rest() -> None:
    """A momentum that grows to 1 ends with steps that are less than a bit."""
    watching = Guard(0.1, lambda: None)
    lines = [{"step": step, **marked(HEALTHY | {"teacher.t": float(step < 150)})} for step in range(50, 500, 50)]
    assert [alarm for line in lines for alarm in watching.note(line)] == []


def test_every_cause_has_a_remedy() -> None:
    watching = Guard(0.1, lambda: None, {"std": 0.7})
    flat = {"finite": 1, "alike": 1, "std": 0, "size": 1, "directions": 1, "still": 1, "moved": 1, "head.a": 0}
    flat |= {"teacher.t": 0, "queue.q": 0, "clusters": 9, "clusters_used": 1, "largest": 1, "codes.c": 1}
    looks = {**guard.NETWORK, **guard.PARTS}
    said = {cause: look(watching, flat | {"finite": float(cause != "not_finite")}) for cause, look in looks.items()}
    assert set(said) | {"stuck_at_chance"} == set(CAUSES)
    assert all(sentence and "; " in sentence for sentence in said.values())


def test_teachers_and_queues_are_found_by_what_they_are() -> None:
    method = made("moco")
    watched = signs.Watched(method)
    assert watched.moved() == {"moved": 0.0, "teacher.teacher": 0.0, "queue.queue": 0.0}
    with torch.no_grad():
        next(method.teacher.parameters()).add_(1e-3)
    moved = watched.moved()
    assert moved["teacher.teacher"] > 0
    assert (moved["moved"], moved["queue.queue"]) == (0, 0)
    assert set(signs.Watched(made("everything")).moved()) == {"moved", "teacher.teacher", "queue.queue"}
    assert "queue.memory" in signs.Watched(made("deepcluster_v2")).moved()
    assert set(signs.Watched(made("vqkd")).moved()) == {"moved"}, "a teacher that stands is meant to"


def test_signs_of_embeddings_and_clusters() -> None:
    rows = np.random.default_rng(0).normal(size=(128, 32)).astype(np.float32)
    found = signs.of_embeddings(rows)
    assert found["directions"] > 25
    assert found["pictures"] == 128
    assert found["still"] == 0
    rows[:, :16] = 3
    assert signs.of_embeddings(rows)["still"] == 0.5
    assert signs.of_embeddings(np.outer(np.arange(1.0, 9), np.ones(4)))["directions"] == pytest.approx(1, abs=1e-3)
    assert signs.of_embeddings(rows * np.float32("nan")) == {"finite": 0.0}
    part = Partition(8, 4)
    assert signs.of_clusters(part) == {}
    part.replace(torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1]]))
    found = signs.of_clusters(part)
    assert found.pop("perplexity") == pytest.approx(4 / 3**0.75)
    assert found == {"clusters": 4, "clusters_used": 2, "largest": 0.75}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "EVERY", 2)


@pytest.mark.parametrize(
    ("fault", "method"),
    [
        ("constant pictures", "simclr"),
        ("encoder x 1e-6", "simclr"),
        ("encoder constant", "vdvs"),
        ("encoder is the batch's mean", "rotation"),
        ("half of the dimensions at 0", "simclr"),
        ("head constant", "rotation"),
        ("frozen teacher", "moco"),
        ("stale queue", "moco"),
        ("one cluster", "deepcluster"),
        ("one code", "vq"),
    ],
)
def test_planted(
    often: None, collapse: Any, photos: Path, manifest: Manifest, tmp_path: Path, fault: str, method: str
) -> None:
    """The quick part of benchmarks/collapse.py: a glance every other step, so that six steps are three."""
    planted = collapse.FAULTS[fault]
    with planted.pictures():
        recipe = planted.recipe(recipe_of(method, photos, manifest, steps=4, monitor_points=1, monitor_pictures=16))
        trainer = trainer_of(recipe, manifest, tmp_path, save=3600.0)
        planted.plant(trainer)
        trainer.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    alarms = {line["alarm"]: line["sentence"] for line in lines if "alarm" in line}
    assert alarms
    assert set(alarms) <= set(planted.causes), alarms
    assert trainer.watcher.line().endswith(f"warning: {list(alarms)[-1].replace('_', ' ')}")


def test_stop(often: None, collapse: Any, photos: Path, manifest: Manifest, tmp_path: Path) -> None:
    """It ends with a checkpoint, and the same command goes on past what is known."""
    recipe = recipe_of("simclr", photos, manifest, steps=8, monitor_points=1, on_collapse="stop")
    trainer = trainer_of(recipe, manifest, tmp_path, save=3600.0)
    collapse.FAULTS["encoder constant"].plant(trainer)
    with pytest.raises(TrainingError, match=r"stopped after step 2 of 8.*complete collapse.*give the same command"):
        trainer.fit()
    again = trainer_of(recipe, manifest, tmp_path, save=3600.0)
    collapse.FAULTS["encoder constant"].plant(again)
    again.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["alarm"] for line in lines if "alarm" in line] == ["complete_collapse"]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))


def test_a_restart_says_the_same(often: None, photos: Path, manifest: Manifest, tmp_path: Path) -> None:
    """Every line, of the guard too, byte for byte; and glances change no weight."""
    recipe = recipe_of("moco", photos, manifest, steps=8, monitor_points=2, keep="best-rankme")
    recipe = replace(recipe, settings={**recipe.settings, "teacher_momentum": 1.0})
    straight = trainer_of(recipe, manifest, tmp_path / "straight")
    straight.fit()
    cut = trainer_of(recipe, manifest, tmp_path / "cut")
    after = cut.after

    def stopping(step: int, signals: Any) -> None:
        after(step, signals)
        if step == 5:
            raise KeyboardInterrupt

    cut.after = stopping  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    cut = trainer_of(recipe, manifest, tmp_path / "cut")
    cut.fit()
    texts = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("straight", "cut")]
    assert texts[0] == texts[1]
    assert b'"alarm": "frozen_teacher"' in texts[0]
    assert b"give it a teacher_momentum below 1" in texts[0]
    assert state.pack(cut.method, cut.raw_optimizer) == state.pack(straight.method, straight.raw_optimizer)


def test_glances_leave_no_trace(
    photos: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = []
    for every in (1, 1000):
        monkeypatch.setattr(guard, "EVERY", every)
        recipe = recipe_of("everything", photos, manifest, steps=4, monitor_points=1)
        trainer = trainer_of(recipe, manifest, tmp_path / str(every), save=3600.0)
        trainer.fit()
        packed.append((state.pack(trainer.method, trainer.raw_optimizer), torch.get_rng_state().tolist()))
    assert packed[0] == packed[1]
