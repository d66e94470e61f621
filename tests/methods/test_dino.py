"""DINO: its recipes, what the teacher sees and where it goes, the centre, prototypes that wait, small crops."""

from __future__ import annotations

import copy
import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_from, batch_of, one_step

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.swapped_prediction import sharpened, swapped_prediction
from selfsight.methods.base import Facts
from selfsight.methods.dino import DINO
from selfsight.nn.encoder import Encoder
from selfsight.training import signs

HEADS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["head_parameter_counts"]["expected"]
SETTINGS = {"prototypes": 16, "hidden": 32, "width": 8, "norm": False, "teacher_momentum": 0.9, "local_views": 0}


def made(**settings: object) -> DINO:
    torch.manual_seed(0)
    return DINO(TinyEncoder(), **{"augmentation": "dino", **SETTINGS, **settings})


def resolved(size: int, **settings: object) -> dict[str, object]:
    found = DINO.resolve(settings, Facts(count=10**6, batch=128, size=size, channels=3, classes=0))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("dino") is DINO
    own = {"temperature", "teacher_temperature", "freeze", "augmentation"}
    assert set(methods.settings(DINO)) == {*SETTINGS, *own}


def test_the_size_decides_the_recipe() -> None:
    large = {"prototypes": 65536, "norm": False, "teacher_momentum": 0.9995, "local_views": 8, "augmentation": "dino"}
    assert resolved(224) == large
    assert DINO.resolve({}, Facts(9999, 1024, 224, 3, 0))["teacher_momentum"][0] == 0.996, "code, for its own batch"
    assert resolved(224, local_views=0)["augmentation"] == "dino-alone"
    small = {"prototypes": 2048, "norm": True, "teacher_momentum": 0.99, "local_views": 0, "augmentation": "simclr"}
    assert resolved(96) == small
    assert "prototypes" not in resolved(96, prototypes=9)
    assert (DINO.defaults(96).optimizer, DINO.defaults(224).optimizer) == ("sgd", "adamw")
    assert (DINO.defaults(96).decay_growth, DINO.defaults(224).decay_growth) == (1.0, 10.0)
    with pytest.raises(RecipeError, match=r"DINO\.resolve"):
        made(norm=None)


def test_the_head_has_the_published_size() -> None:  # 384-2048-2048-256, and K directions of 256 without bias
    head = DINO(TinyEncoder(384), **{**SETTINGS, "hidden": 2048, "width": 256}, augmentation="dino").head
    layers = (384 + 1) * 2048 + (2048 + 1) * 2048 + (2048 + 1) * 256
    assert sum(p.numel() for p in head.parameters()) == layers + 16 * 256
    assert [head[0][i].weight.std().item() for i in (0, 2, 4)] == pytest.approx([0.02] * 3, rel=0.01), "code"
    known = HEADS["dino head 384-2048-2048-256 + 65536 weight-normed directions (gain frozen)"]
    assert layers + 65536 * 256 == known


def test_an_encoder_that_takes_no_small_crops_is_refused() -> None:
    with pytest.raises(RecipeError, match="'mixer_s32_224' cannot take the 27 px parts of a view"):
        DINO(Encoder("mixer_s32_224", size=64), **{**SETTINGS, "local_views": 2}, augmentation="dino")


def test_small_crops_go_through_the_student_only() -> None:
    method = made(local_views=3).eval()
    pictures = [np.random.default_rng(seed).integers(0, 256, (50, 60, 3), dtype=np.uint8) for seed in range(4)]
    batch = batch_from(method.views(28), pictures, np.random.default_rng(0))
    assert batch["views"].shape == (4, 2, 28, 28, 3)
    assert batch["crops"].shape == (4, 3, 12, 12, 3)
    student, teacher = method.project(batch)["scores"], method.targets(batch)["teacher"]
    assert (student.shape, teacher.shape) == ((4, 5, 16), (4, 2, 16))
    torch.testing.assert_close(teacher, student[:, :2], msg="a copy at first")
    other = {**batch, "crops": 255 - batch["crops"]}
    assert torch.equal(method.targets(other)["teacher"], teacher)
    assert not torch.equal(method.project(other)["scores"][:, 2:], student[:, 2:])
    assert torch.equal(method.project(other)["scores"][:, :2], student[:, :2])


def test_the_loss_is_the_formula_with_the_centre_as_it_was() -> None:
    method, batch = made().eval(), batch_of(4)
    method.centre.copy_(torch.linspace(-0.1, 0.1, 16))
    scores, teacher = method.project(batch)["scores"], method.targets(batch)["teacher"]
    shares = sharpened(teacher, method.centre.clone(), temperature=0.04)
    terms = method.loss({"scores": scores, "teacher": teacher}, batch)
    assert terms["loss"].item() == pytest.approx(swapped_prediction(scores, shares, temperature=0.1).item())
    assert terms["least"].item() == pytest.approx(entropy(shares).mean().item())
    assert terms["least"] <= terms["loss"]
    copied = {"scores": teacher * 0.1 / 0.04 - method.centre * 0.1 / 0.04, "teacher": teacher}
    assert method.loss({**copied, "scores": copied["scores"].flip(1)}, batch)["loss"].item() == pytest.approx(
        terms["least"].item(), rel=1e-5
    )


def test_the_teacher_grows_less_sure_while_training_is_young() -> None:
    """The paper's temperatures: 0.04 at the start, 0.055 half-way through the warm-up, 0.07 from then on."""
    method, batch = made(teacher_temperature=0.07).eval(), batch_of(4)
    seen = {**method.project(batch), **method.targets(batch)}
    for progress, temperature in ((0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (1.0, 0.07)):
        method.progress = progress
        shares = sharpened(seen["teacher"], method.centre, temperature=temperature)
        assert method.loss(seen, batch)["least"].item() == pytest.approx(entropy(shares).mean().item(), rel=1e-5)


def test_teacher_and_centre_move_after_the_step() -> None:
    method, batch = made(), batch_of(4)
    seen = {**method.project(batch), **method.targets(batch)}
    before = copy.deepcopy(method.state_dict())
    with torch.no_grad():
        method.encoder.body[0].weight.add_(1.0)
    watched = signs.Watched(method)
    method.on_step_end(seen, batch)
    after, weight = method.state_dict(), "teacher.0.body.0.weight"
    torch.testing.assert_close(after[weight], before[weight] + 0.1)
    torch.testing.assert_close(after["centre"], 0.1 * seen["teacher"].mean(dim=(0, 1)))
    assert watched.moved()["teacher.teacher"] > 0
    assert "moved" in watched.moved()
    method.progress = 1.0
    method.on_step_end(seen, batch)
    assert torch.equal(method.state_dict()[weight], after[weight]), "at the end the teacher rests"


def test_the_teacher_is_what_is_kept_and_asks_for_no_gradient() -> None:
    method = made()
    assert method.product is method.teacher[0]
    assert method.product is not method.encoder
    assert not any(p.requires_grad for p in method.teacher.parameters())
    one_step(method, batch_of(4), torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1))
    assert all(p.grad is None for p in method.teacher.parameters())


def test_prototypes_wait_while_the_rest_learns() -> None:
    first, last = made(freeze=0.25).groups()
    assert (first.start, last.start) == (0.0, 0.25)
    assert [p.shape for p in last.parameters] == [(16, 8)]


def test_chance_is_a_student_to_whom_all_is_alike() -> None:
    method, batch = made(), batch_of(4)
    even = {"scores": torch.zeros(4, 2, 16), "teacher": method.targets(batch)["teacher"]}
    assert method.loss(even, batch)["loss"].item() == pytest.approx(method.chance(4)) == pytest.approx(log(16))
    sure = torch.nn.functional.one_hot(torch.arange(4), 16)[:, None].repeat(1, 2, 1) * 100.0
    terms = method.loss({"scores": sure, "teacher": sure}, batch)
    assert (terms["loss"].item(), terms["least"].item()) == pytest.approx((method.floor(4), 0.0), abs=1e-6)
