"""I-JEPA: context and targets never meet, the loss in plain loops, what the context tells, where the teacher goes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, terms_of

from selfsight import methods
from selfsight.data.order import Purpose, keyed
from selfsight.errors import RecipeError
from selfsight.methods.base import Facts
from selfsight.methods.ijepa import IJEPA
from selfsight.nn.encoder import Encoder
from selfsight.views.masks import Regions
from selfsight.views.recipes import multi_view

LINE = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["ijepa"]["ema_linear"]
PREDICTOR = {"predictor_width": 24, "predictor_depth": 1, "predictor_heads": 3}


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("ijepa") is IJEPA
    own = {"blocks", "teacher_momentum", "last_momentum", "augmentation"}
    assert set(methods.settings(IJEPA)) == {*PREDICTOR, *own}


@pytest.mark.parametrize(("size", "predictor"), [(64, (96, 4, 3)), (224, (384, 6, 12))])
def test_the_size_decides_the_predictor(size: int, predictor: tuple[int, int, int]) -> None:
    found = IJEPA.resolve({}, Facts(count=10**6, batch=128, size=size, channels=3, classes=0))
    assert tuple(found[name][0] for name in PREDICTOR) == predictor
    assert IJEPA.defaults(224).rate(2048)[0] == IJEPA.defaults(64).rate(512)[0] == 1e-3
    assert IJEPA.defaults(224).weight_decay * IJEPA.defaults(224).decay_growth == 0.4
    assert IJEPA.defaults(64).decay_growth == 1
    assert (IJEPA.defaults(224).epochs, IJEPA.defaults(224).warmup) == (300, 40), "code"


@pytest.mark.parametrize(("side", "told", "known"), [(8, 8, 16), (14, 24, 49)])
def test_context_and_targets_never_meet_and_reach_every_patch(side: int, told: int, known: int) -> None:
    regions = Regions.over(multi_view("ijepa", 32, views=1), (side, side), 4)
    picture, seen = np.zeros((40, 40, 3), np.uint8), np.zeros((2, side * side), int)
    for number in range(400):
        found = regions(picture, keyed(0, number, Purpose.VIEWS))
        assert found["known"].shape == (known,)
        assert found["targets"].shape == (4, told)
        assert not np.intersect1d(found["known"], found["targets"]).size
        for target in found["targets"]:
            rows, columns = target // side, target % side
            assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) <= 0.28 * side * side, "one block"
            assert len(np.unique(target)) == told
        seen[0][found["known"]] += 1
        seen[1][np.unique(found["targets"])] += 1
    assert (seen > 0).all(), "borders too"


@pytest.mark.parametrize(("side", "blocks"), [(3, 9), (14, 12)])
def test_targets_that_leave_no_context_are_drawn_again(side: int, blocks: int) -> None:
    regions = Regions.over(multi_view("ijepa", 32, views=1), (side, side), blocks)
    for number in range(100):
        found = regions(np.zeros((40, 40, 3), np.uint8), keyed(0, number, Purpose.VIEWS))
        assert found["known"].shape == (side * side // 4,)
        assert not np.intersect1d(found["known"], found["targets"]).size


def test_loss_equals_its_slow_twin() -> None:
    method = made("ijepa", **PREDICTOR).eval()
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    assert seen["told"].shape == (3, 4, 8, method.encoder.maps)
    vectors = method.teacher.patches(batch["views"][:, 0]).detach().double().numpy()
    total = []
    for b, block, place in np.ndindex(3, 4, 8):
        row = vectors[b, batch["targets"][b, block, place]]
        true = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
        off = np.abs(seen["told"][b, block, place].detach().numpy() - true)
        total.append(np.where(off < 1, off**2 / 2, off - 0.5).mean())
    assert terms_of(method, seen, batch) == {"loss": pytest.approx(np.mean(total), rel=1e-5)}


def test_only_the_context_tells_and_blocks_do_not_see_each_other() -> None:
    method = made("ijepa", **PREDICTOR).eval()
    batch = batch_of(method, pictures(2))
    before = everything(method, batch)
    known = set(batch["known"][0].tolist())
    place = next(place for place in range(64) if place not in known)
    top, left = 4 * (place // 8), 4 * (place % 8)
    other = {**batch, "views": batch["views"].clone()}
    other["views"][0, 0, top : top + 4, left : left + 4] ^= 255
    after = everything(method, other)
    assert torch.equal(before["told"], after["told"])
    assert not torch.equal(before["vectors"][0], after["vectors"][0])
    moved = {**batch, "targets": batch["targets"].flip(1)}
    torch.testing.assert_close(method.project(moved)["told"].flip(1), before["told"], rtol=1e-4, atol=1e-5)


def test_the_teacher_follows_along_a_line_and_is_what_is_kept() -> None:
    method = made("ijepa", **PREDICTOR)
    batch = batch_of(method, pictures(2))
    seen = everything(method, batch)
    assert not seen["vectors"].requires_grad
    assert method.product is method.teacher
    weight = "teacher.backbone.patch_embed.proj.weight"
    for progress, kept in ((0.0, LINE["m0"]), (0.5, LINE["i/total=0.5"]), (1.0, LINE["m1"])):
        before = method.state_dict()[weight].clone()
        with torch.no_grad():
            method.encoder.backbone.patch_embed.proj.weight.add_(1.0)
        student = method.encoder.backbone.patch_embed.proj.weight.detach()
        method.progress = progress
        method.on_step_end(seen, batch)
        torch.testing.assert_close(method.state_dict()[weight], kept * before + (1 - kept) * student)


def test_chance_is_telling_nothing_of_gaussian_vectors() -> None:
    method = made("ijepa", **PREDICTOR)
    batch = batch_of(method, pictures(2))
    vectors = torch.randn(2000, 4, 8, 64, generator=torch.Generator().manual_seed(0))
    assert terms_of(method, {"told": vectors * 0, "vectors": vectors}, batch)["loss"] == pytest.approx(
        method.chance(2), rel=1e-2
    )
    standard = torch.nn.functional.layer_norm(vectors, (64,))
    assert terms_of(method, {"told": standard, "vectors": vectors}, batch)["loss"] == method.floor(2) == 0


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (5, np.uint16)])
def test_any_picture_will_do(channels: int, dtype: type) -> None:
    method = made("ijepa", channels=channels, high=float(np.iinfo(dtype).max), **PREDICTOR)
    batch = batch_of(method, pictures(3, channels, dtype))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"IJEPA\.resolve"):
        IJEPA(Encoder("test_vit", size=32))
    with pytest.raises(RecipeError, match=r"40 blocks of targets leave too little of 8 x 8 patches.*use fewer blocks"):
        made("ijepa", blocks=40, **PREDICTOR).views(32)
    with pytest.raises(RecipeError, match="--encoder vit_tiny_patch16_224"):
        IJEPA(Encoder("test_resnet", size=32), **PREDICTOR)
