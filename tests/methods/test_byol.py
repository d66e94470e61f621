"""BYOL: its recipes and heads, what the teacher sees and when it follows, scale of the loss."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from method_parts import TinyEncoder, batch_of, counted, one_step, resolved
from torch.nn.functional import cosine_similarity

from selfsight.errors import RecipeError
from selfsight.methods.byol import BYOL

HEADS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["head_parameter_counts"]["expected"]


def made(inner: int = 32, **settings: object) -> BYOL:
    torch.manual_seed(0)
    return BYOL(TinyEncoder(inner), **{"hidden": 64, "width": 16, "augmentation": "simclr", **settings})


def test_size_decides_the_recipe() -> None:
    assert resolved(BYOL, 96) == {"hidden": 1024, "augmentation": "simclr"}
    assert resolved(BYOL, 224) == {"hidden": 4096, "augmentation": "byol"}
    assert resolved(BYOL, 32, hidden=8, augmentation="weak") == {}
    small, large = BYOL.defaults(32), BYOL.defaults(224)
    assert (small.optimizer, large.optimizer, large.warmup) == ("sgd", "lars", 10.0)
    assert large.rate(4096)[0] == pytest.approx(0.3 * 16)
    with pytest.raises(RecipeError, match="not set"):
        made(hidden=None)


def test_heads_of_the_paper() -> None:
    method = made(512, hidden=4096, width=256)
    assert counted(method.projector) == HEADS["byol_official projector 512-4096-256"] - 4096  # the shift of a norm
    assert counted(method.predictor) == HEADS["byol_official predictor 256-4096-256"] - 4096


def test_the_small_recipe_takes_lightlys_steps() -> None:
    """The paper's loss is 4 + 4 times lightly's: a quarter of the rate and four times the decay is the same step."""
    training, gradient, weight = BYOL.defaults(32), 0.7, 0.3
    theirs = 0.06 * (gradient + 5e-4 * weight)
    assert training.lr * (4 * gradient + training.weight_decay * weight) == pytest.approx(theirs)


def test_loss_is_of_each_view_against_the_teachers_other() -> None:
    method, batch = made().eval(), batch_of(5)
    views = batch["views"].unbind(dim=1)
    predictions = [method.predictor(method.projector(method.encoder(view))) for view in views]
    targets = [method.teacher(view) for view in views]
    pairs = zip(predictions, reversed(targets), strict=True)
    expected = sum((2 - 2 * cosine_similarity(p, z)).mean().item() for p, z in pairs)
    assert one_step(method, batch) == pytest.approx(expected, rel=1e-5)


def test_each_view_has_batch_statistics_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = made(), []
    honest = method.encoder.forward
    monkeypatch.setattr(method.encoder, "forward", lambda pixels: seen.append(len(pixels)) or honest(pixels))
    method.project(batch_of(4))
    assert seen == [4, 4]


def test_the_teacher_follows_slower_and_slower() -> None:
    method, batch = made(teacher_momentum=0.9), batch_of(4)
    moved = []
    for method.progress in (0.0, 0.5, 1.0):
        before = copy.deepcopy(method.teacher.state_dict())
        with torch.no_grad():
            method.encoder.body[0].weight.copy_(method.teacher[0].body[0].weight + 1)
        one_step(method, batch)
        moved.append((method.teacher[0].body[0].weight - before["0.body.0.weight"]).mean().item())
    assert moved == pytest.approx([0.1, 0.05, 0.0], abs=1e-6)
    trained = {id(p) for group in method.groups() for p in group.parameters}
    assert not trained & {id(p) for p in method.teacher.parameters()}


def test_the_teachers_statistics_are_its_own() -> None:
    method = made()
    one_step(method, batch_of(8))
    student, teacher = (part.body[1].running_mean for part in (method.encoder, method.teacher[0]))
    assert not torch.equal(teacher, torch.zeros_like(teacher))
    torch.testing.assert_close(student, teacher, msg="one step: the same weights saw the same views")


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method, rows = made(), torch.eye(16)[:8].view(4, 2, 16)
    assert method.loss({"prediction": rows, "target": rows.roll(1, dims=0)}, {})["loss"].item() == method.chance(4)
    assert method.loss({"prediction": rows, "target": rows.flip(1)}, {})["loss"].item() == method.floor(4)
