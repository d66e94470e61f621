"""SimCLR: its recipes, its head, its loss over views, and eight pictures learned by heart."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import partial
from math import log

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_of, one_step

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.losses.decoupled import decoupled
from selfsight.losses.nt_xent import nt_xent
from selfsight.methods.base import Facts
from selfsight.methods.simclr import SimCLR


def made(**settings: object) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(TinyEncoder(), **{"temperature": 0.5, "augmentation": "simclr", **settings})


def facts(size: int) -> Facts:
    return Facts(count=1000, batch=128, size=size, channels=3, classes=0)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("simclr") is SimCLR
    assert set(methods.settings(SimCLR)) == {"temperature", "width", "head", "criterion", "augmentation"}


@pytest.mark.parametrize(("size", "temperature", "optimizer"), [(32, 0.5, "sgd"), (96, 0.5, "sgd"), (224, 0.1, "lars")])
def test_size_decides_the_recipe(size: int, temperature: float, optimizer: str) -> None:
    resolved = SimCLR.resolve({}, facts(size))
    assert resolved["temperature"][0] == temperature
    assert SimCLR.defaults(size).optimizer == optimizer
    assert all(reason for _, reason in resolved.values())
    assert "temperature" not in SimCLR.resolve({"temperature": 0.3}, facts(size))
    assert SimCLR.resolve({"criterion": "dcl"}, facts(size))["temperature"][0] == 0.1


def test_on_a_cpu_small_views_have_the_measured_recipe() -> None:
    assert (SimCLR.usual(64, "cpu").encoder, SimCLR.usual(64, "cpu").batch) == ("resnet10t", 64)
    assert (SimCLR.usual(80, "cpu").side(80), SimCLR.usual(64, "cpu").whole(64)) == (64, 80)
    assert SimCLR.usual(64, "cuda:0") == SimCLR.usual(64, "mps") == SimCLR.defaults(64)
    assert SimCLR.usual(96, "cpu") == SimCLR.defaults(96), "not measured"
    assert SimCLR.resolve({}, replace(facts(64), batch=64))["temperature"][0] == 0.2
    assert SimCLR.resolve({}, replace(facts(224), batch=64))["temperature"][0] == 0.1


@pytest.mark.parametrize(
    "settings",
    [{"temperature": None}, {"augmentation": None}, {"head": "papers"}, {"criterion": "dlc"}],
    ids=lambda s: next(iter(s)),
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        made(**settings)


@pytest.mark.parametrize("size", [32, 128])
def test_views_are_light_and_feed_the_loss(size: int) -> None:
    method = made()
    views = method.views(size)
    assert len(pickle.dumps(views)) < 10_000
    images = [np.random.default_rng(i).integers(0, 256, (70, 50, 3), dtype=np.uint8) for i in range(4)]
    arrays = [views(image, np.random.default_rng(9))["views"] for image in images]
    batch = {**batch_of(4), "views": torch.from_numpy(np.stack(arrays))}
    assert batch["views"].shape == (4, 2, size, size, 3)
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])


CRITERIA = {
    "nt-xent": partial(nt_xent, temperature=0.5),
    "dcl": partial(decoupled, temperature=0.5),
    "dclw": partial(decoupled, temperature=0.5, sigma=0.5),
}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_loss_is_of_the_two_views(criterion: str) -> None:
    method = made(criterion=criterion).eval()
    batch = batch_of(6)
    rows = [torch.nn.functional.normalize(method.projector(method.encoder(batch["views"][:, v]))) for v in (0, 1)]
    terms = method.loss(method.project(batch), batch)
    torch.testing.assert_close(terms["loss"], CRITERIA[criterion](*rows))
    torch.testing.assert_close(terms["alignment"], (rows[0] - rows[1]).square().sum(dim=1).mean())


def test_loss_writes_nothing() -> None:
    method = made()
    projections = method.project(batch_of(4))
    before = copy.deepcopy(method.state_dict())
    method.loss(projections, batch_of(4))
    method.on_step_end(projections, batch_of(4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())


@pytest.mark.parametrize(
    ("head", "count"), [("paper", 512 * 512 + 1024 + 512 * 128 + 128), ("lightly", 328960)]
)  # 328960: check value "simclr_lightly 512-512-128"
def test_heads(head: str, count: int) -> None:
    method = SimCLR(TinyEncoder(512), temperature=0.5, augmentation="simclr", head=head)
    assert sum(p.numel() for p in method.projector.parameters()) == count
    assert method.project(batch_of(4))["views"].shape == (4, 2, 128)


def test_every_parameter_learns() -> None:
    method = made()
    batch = batch_of(8)
    method.loss(method.project(batch), batch)["loss"].backward()
    norms = {name: p.grad.norm().item() for name, p in method.named_parameters() if p.grad is not None}
    assert len(norms) == len(list(method.parameters()))
    assert all(norm > 0 for norm in norms.values())


def test_autocast_projects_unit_rows_in_float32() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = made().project(batch_of(4))["views"]
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4, 2))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_chance_and_floor_are_the_loss_of_what_they_say(criterion: str) -> None:
    method = made(criterion=criterion)
    same = torch.nn.functional.normalize(torch.ones(8, 2, 16, dtype=torch.float64), dim=-1)
    assert method.loss({"views": same}, {})["loss"].item() == pytest.approx(method.chance(8))
    corners = torch.eye(8, dtype=torch.float64) - 1 / 8
    simplex = torch.nn.functional.normalize(corners, dim=-1)[:, None].expand(-1, 2, -1)
    assert method.loss({"views": simplex}, {})["loss"].item() == pytest.approx(method.floor(8))
    assert method.chance(8) == pytest.approx(log(15 if criterion == "nt-xent" else 14))


@pytest.mark.parametrize("criterion", ["nt-xent", "dcl"])
def test_eight_pictures_reach_nine_tenths_of_the_gap(criterion: str) -> None:
    method = made(criterion=criterion)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    losses = [one_step(method, batch_of(8), optimizer) for _ in range(200)]
    gap = (method.chance(8) - losses[-1]) / (method.chance(8) - method.floor(8))
    assert 0.9 <= gap <= 1


def test_the_rate_grows_with_the_root_of_the_batch_on_large_views_and_with_the_batch_on_small_ones() -> None:
    for batch in (256, 1024, 4096):
        rate, why = SimCLR.defaults(224).rate(batch)
        assert rate == pytest.approx(0.075 * batch**0.5)  # README of google-research/simclr
        assert "sqrt" in why
        assert SimCLR.defaults(32).rate(batch)[0] == pytest.approx(0.06 * batch / 128)
    assert SimCLR.defaults(224).rate(4096)[0] == pytest.approx(0.3 * 4096 / 256)  # where it meets the paper's
