"""NNCLR: neighbours from the queue as it was, what enters it, both denominators, lightly, settings."""

from __future__ import annotations

import copy

import pytest
import torch
from method_parts import TinyEncoder, batch_of, one_step, resolved
from torch.nn.functional import normalize

from selfsight.errors import RecipeError
from selfsight.losses.matching import matching
from selfsight.methods.nnclr import NNCLR


def made(**settings: object) -> NNCLR:
    torch.manual_seed(0)
    usual = {"support": 32, "hidden": 32, "width": 16, "predictor_hidden": 32}
    return NNCLR(TinyEncoder(), **{**usual, **settings})


def rows_of(method: NNCLR, batch: dict[str, torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    projections = [method.projector(method.encoder(view)) for view in batch["views"].unbind(dim=1)]
    return [normalize(z) for z in projections], [normalize(method.predictor(z)) for z in projections]


def test_size_and_pictures_decide_the_queue() -> None:
    assert resolved(NNCLR, 32) == {"support": 4096}
    assert resolved(NNCLR, 224) == {"support": 98304}
    assert resolved(NNCLR, 32, count=3000) == {"support": 11 * 128}
    assert resolved(NNCLR, 32, support=512) == {}
    with pytest.raises(RecipeError, match=r"128 keys for a batch of 128.*use a batch of at most 32"):
        resolved(NNCLR, 32, support=128)
    with pytest.raises(RecipeError, match="not set"):
        made(support=None)
    with pytest.raises(RecipeError, match="Did you mean 'ntxent'"):
        made(denominator="nt-xent")


def test_loss_is_of_the_neighbours_in_the_queue_before_this_batch() -> None:
    method, batch = made().eval(), batch_of(6)
    keys = method.queue.keys.clone()
    z, p = rows_of(method, batch)
    neighbours = [keys[(one @ keys.T).argmax(dim=1)] for one in z]
    expected = sum(matching(n, q, temperature=0.1).item() for n, q in zip(neighbours, reversed(p), strict=True)) / 2
    assert one_step(method, batch) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(method.queue.keys[:6], z[0].detach())
    assert torch.equal(method.queue.keys[6:], keys[6:])
    assert int(method.queue.pointer) == 6


def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours go into the full NT-Xent."""
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import NTXentLoss
    from lightly.models.modules import NNMemoryBankModule

    method, batch = made(denominator="ntxent").eval(), batch_of(6)
    bank, criterion = NNMemoryBankModule(size=(32, 16)), NTXentLoss(temperature=0.1)
    bank.bank = method.queue.keys.clone()
    z, p = rows_of(method, batch)
    found = [bank(one.detach(), update=False) for one in z]
    theirs = (criterion(found[0], p[1]) + criterion(found[1], p[0])) / 2
    torch.testing.assert_close(method.loss(method.project(batch), batch)["loss"], theirs)


def test_no_gradient_through_the_neighbours() -> None:
    method, batch = made(), batch_of(6)
    projections = method.project(batch)
    projections["projection"].retain_grad()
    method.loss(projections, batch)["loss"].backward()
    assert projections["projection"].grad is None
    assert method.projector[0].weight.grad.abs().max() > 0, "it learns through the predictions"


def test_distinct_falls_where_all_pictures_are_alike() -> None:
    method, batch = made(), batch_of(8)
    rows = normalize(torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    method.queue.keys[:8] = rows[:, 0]
    assert method.loss({"projection": rows, "prediction": rows}, batch)["distinct"] == 1
    same = rows[:1].expand(8, -1, -1)
    assert method.loss({"projection": same, "prediction": same}, batch)["distinct"] == 1 / 8


def test_the_queue_is_state() -> None:
    method, batch = made(), batch_of(8)
    one_step(method, batch)
    resumed = made()
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    assert one_step(resumed, batch) == one_step(method, batch)


@pytest.mark.parametrize("denominator", ["batch", "ntxent"])
def test_chance_and_floor_are_the_loss_of_what_they_say(denominator: str) -> None:
    method = made(denominator=denominator)
    same = normalize(torch.ones(8, 2, 16), dim=-1)
    found = method.loss({"projection": same, "prediction": same}, {})["loss"].item()
    if denominator == "batch":
        assert found == pytest.approx(method.chance(8))
    method.queue.keys[:] = same[0, 0]
    assert method.loss({"projection": same, "prediction": same}, {})["loss"].item() == pytest.approx(method.chance(8))
    simplex = torch.nn.functional.pad(normalize(torch.eye(8) - 1 / 8, dim=1), (0, 8))
    method.queue.keys.copy_(simplex.repeat(4, 1))
    rows = simplex[:, None].expand(-1, 2, -1)
    loss = method.loss({"projection": rows, "prediction": rows}, {})["loss"].item()
    assert loss == pytest.approx(method.floor(8), rel=1e-2)
