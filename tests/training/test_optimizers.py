"""LARS against its check value and a slow twin; what decays; rates and starts of groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfsight.errors import RecipeError
from selfsight.methods.base import Group, Training
from selfsight.nn.encoder import Encoder
from selfsight.training import state
from selfsight.training.optimizers import LARS, build, clip, let_wait, set_rate

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["lars"]


def test_check_value() -> None:
    inputs = CHECK["inputs"]
    p = nn.Parameter(torch.tensor(inputs["p"], dtype=torch.float64))
    p.grad = torch.tensor(inputs["g"], dtype=torch.float64)
    LARS([{"params": [p]}], lr=inputs["lr"], weight_decay=inputs["wd"]).step()
    expected = torch.tensor(CHECK["expected"]["a_eta0.001_after_one_step"], dtype=torch.float64)
    torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=0)


def slow_twin(p: np.ndarray, gradients: list[np.ndarray], lr: float, momentum: float, decay: float) -> np.ndarray:
    moment = np.zeros_like(p)
    for g in gradients:
        trust = 1.0
        if p.ndim > 1:
            g = g + decay * p
            lengths = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
            trust = 0.001 * lengths[0] / lengths[1] if min(lengths) > 0 else 1.0
        moment = momentum * moment + trust * g
        p = p - lr * moment
    return p


@pytest.mark.parametrize("start", [1.0, 0.0])
def test_slow_twin(start: float) -> None:
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (2, 3, 3, 3), (5,), ()]
    values = [start * rng.normal(size=s) for s in shapes]
    gradients = [[rng.normal(size=s) * (k != 1) for k in range(5)] for s in shapes]  # the second one is all zero
    parameters = [nn.Parameter(torch.tensor(v)) for v in values]
    optimizer = LARS([{"params": parameters}], lr=0.3, weight_decay=0.01)
    for k in range(5):
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = torch.tensor(g[k])
        optimizer.step()
    for p, v, g in zip(parameters, values, gradients, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), slow_twin(v, g, 0.3, 0.9, 0.01), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("each", [True, False])
def test_clipping(each: bool) -> None:
    """Together, or each tensor by its own norm (as DINO's released code does); what is short enough stays."""
    rng = np.random.default_rng(0)
    gradients = [scale * rng.normal(size=shape) for scale, shape in ((9.0, (3, 4)), (0.1, (5,)), (4.0, (2, 3, 3)))]
    parameters = [nn.Parameter(torch.zeros(gradient.shape, dtype=torch.float64)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    lengths = [float(np.sqrt((gradient**2).sum())) for gradient in gradients]
    whole = float(np.sqrt(np.square(lengths).sum()))
    clip([*parameters, nn.Parameter(torch.zeros(2))], 3.0, torch.tensor(whole, dtype=torch.float64), each=each)
    for parameter, gradient, length in zip(parameters, gradients, lengths, strict=True):
        expected = gradient * min(1.0, 3.0 / (length if each else whole))
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5)


def test_gradients_are_left_as_they_were() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    p.grad = torch.ones(2, 2)
    LARS([{"params": [p]}], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(p.grad, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_nothing_with_one_axis_decays(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = build([Group(list(net.parameters()))], Training(optimizer=name, weight_decay=0.5), lr=0.1)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decays) == 4
    assert all(decays[id(p)] == (0.5 if p.ndim > 1 else 0.0) for p in net.parameters())


def test_tokens_and_positions_of_a_transformer_do_not_decay() -> None:
    backbone = Encoder("test_vit", size=32).backbone
    optimizer = build([Group(list(backbone.parameters()))], Training("adamw", weight_decay=0.5), lr=0.1)
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    spared = {name for name, p in backbone.named_parameters() if p.ndim > 1 and not decays[id(p)]}
    assert spared == {"cls_token", "pos_embed"}


def test_both_betas_of_adamw_are_the_recipes() -> None:
    optimizer = build([Group([nn.Parameter(torch.zeros(2))])], Training("adamw", momentum=0.8, beta2=0.98), lr=0.1)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.98)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_state_goes_through_a_state_dict_exactly(name: str) -> None:
    def made() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        return net, build([Group(list(net.parameters()))], Training(optimizer=name), lr=0.1)

    def steps(net: nn.Linear, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            optimizer.zero_grad()
            net(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
            optimizer.step()

    (straight, first), (resumed, second) = made(), made()
    steps(straight, first, range(6))
    steps(resumed, second, range(3))
    again, third = made()
    again.load_state_dict(resumed.state_dict())
    third.load_state_dict(second.state_dict())
    steps(again, third, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), again.parameters(), strict=True))


def test_groups_keep_their_multipliers_and_wait_for_their_start() -> None:
    early, late = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [Group(list(early.parameters()), lr=0.2, decay=0.0), Group(list(late.parameters()), start=0.5)]
    optimizer = build(groups, Training(weight_decay=0.1), lr=1.0)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.0, 0.1, 0.0]
    assert [g["lr"] for g in optimizer.param_groups] == [0.2, 0.2, 1.0, 1.0]
    set_rate(optimizer, 0.4, progress=0.4)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.08, 0.08, 0.0, 0.0])
    set_rate(optimizer, 0.4, progress=0.5)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.08, 0.08, 0.4, 0.4])


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_what_waits_begins_as_if_training_began_then(name: str) -> None:
    """Gradients of the time before leave no moments (SwAV's and DINO's codes set them to None)."""

    def trained(steps: range) -> torch.Tensor:
        late = nn.Parameter(torch.ones(3, 2))
        optimizer = build([Group([late], start=0.5)], Training(name, weight_decay=0.1), lr=0.1)
        for step in steps:
            late.grad = torch.full_like(late, 1.0 + step)
            set_rate(optimizer, 0.1, step / 10)
            let_wait(optimizer, step / 10)
            optimizer.step()
        return late.detach()

    assert torch.equal(trained(range(5)), torch.ones(3, 2))
    assert torch.equal(trained(range(10)), trained(range(5, 10)))


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_weight_decay_grows_along_half_a_cosine(name: str) -> None:
    """DINO's code: 0.04 to 0.4. What never decays still does not, and each group keeps its share."""
    net = nn.Linear(2, 2)
    training = Training(name, weight_decay=0.04, decay_growth=10.0)
    optimizer = build(
        [Group([net.weight, net.bias]), Group([nn.Parameter(torch.ones(2, 2))], decay=0.5)], training, 1.0
    )
    for progress, share in ((0.0, 0.04), (0.25, 0.04 + 0.36 * (1 - 2**-0.5) / 2), (0.5, 0.22), (1.0, 0.4)):
        set_rate(optimizer, 0.1, progress)
        assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([share, 0.0, share / 2])


def test_a_constant_group_keeps_its_peak() -> None:
    follows, stays = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [Group(list(follows.parameters())), Group(list(stays.parameters()), lr=0.5, constant=True, start=0.1)]
    optimizer = build(groups, Training(), lr=1.0)
    seen = []
    for progress, rate in ((0.0, 0.0), (0.5, 0.7), (1.0, 0.01)):
        set_rate(optimizer, rate, progress)
        seen.append([g["lr"] for g in optimizer.param_groups])
    assert seen == [[0.0, 0.0, 0.0, 0.0], [0.7, 0.7, 0.5, 0.5], [0.01, 0.01, 0.5, 0.5]]


def test_unknown_optimizer() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'adamw'"):
        build([], Training(optimizer="adam"), lr=1.0)


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_a_group_may_have_a_momentum_of_its_own(name: str) -> None:
    """Where the gradient stops, what has no momentum stands still."""
    plain, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    groups = [Group(list(plain.parameters()), momentum=0.0), Group(list(other.parameters()))]
    optimizer = build(groups, Training(optimizer=name, weight_decay=0.0), lr=0.1)
    moved = []
    for slope in (1.0, 0.0):
        before = [plain.weight.detach().clone(), other.weight.detach().clone()]
        for net in (plain, other):
            net.weight.grad = torch.full((2, 2), slope)
        optimizer.step()
        moved.append([not torch.equal(a, b.weight) for a, b in zip(before, (plain, other), strict=True)])
    assert moved == [[True, True], [False, True]]


@pytest.mark.parametrize(("name", "usual"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_one_pass_is_what_torch_does_in_several(name: str, usual: type[torch.optim.Optimizer]) -> None:
    """Also where a tensor gets its first gradient late, and where one is forgotten between two steps."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.ModuleList([nn.Linear(5, 4), nn.Linear(4, 3)]) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    training = Training(optimizer=name, momentum=0.9, weight_decay=0.01)
    given = {"momentum": 0.9} if name == "sgd" else {"betas": (0.9, training.beta2)}
    plain = [
        {"params": [p for p in layers[1].parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in layers[1].parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    both = [build([Group(list(layers[0].parameters()))], training, 0.1), usual(plain, lr=0.1, foreach=False, **given)]
    for step in range(6):
        for pair in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
            gradient = torch.randn(pair[0].shape, generator=generator)
            late = step < 2 and pair[0].shape[0] == 3
            pair[0].grad, pair[1].grad = (None, None) if late else (gradient, gradient.clone())
        for optimizer, own in zip(both, layers, strict=True):
            if step == 4:
                state.forget(optimizer, own[0])
            optimizer.step()
    for one, other in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
