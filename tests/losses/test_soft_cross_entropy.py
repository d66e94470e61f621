"""Soft cross-entropy against its check values and a slow twin in plain loops."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import pytest
import torch

from selfsight.losses.soft_cross_entropy import soft_cross_entropy

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["colorization"]["expected"]


def given(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (2, 7, 3, 4), and three classes of each location with their shares."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 7, 3, 4, dtype=torch.float64, generator=generator)
    classes = torch.rand(2, 7, 3, 4, generator=generator).argsort(dim=1)[:, :3]
    return logits, classes, torch.randn(2, 3, 3, 4, dtype=torch.float64, generator=generator).softmax(dim=1)


def test_check_values() -> None:
    toy = CHECK["soft_ce_toy"]
    logits = torch.tensor(toy["logits"], dtype=torch.float64).view(1, 4, 1)
    classes, shares = torch.arange(4).view(1, 4, 1), torch.tensor(toy["target"], dtype=torch.float64).view(1, 4, 1)
    each = soft_cross_entropy(logits, classes, shares)
    assert each.item() == pytest.approx(toy["ce"], rel=1e-9)
    weights = CHECK["rebalance_toy"]["weights"]
    assert each.item() * weights[0] == pytest.approx(toy["weighted_by_argmax_bin"], rel=1e-9)


def test_slow_twin() -> None:
    logits, classes, shares = given()
    each = soft_cross_entropy(logits, classes, shares)
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        row = logits[b, :, y, x].tolist()
        target = [0.0] * 7
        for place in range(3):
            target[int(classes[b, place, y, x])] += float(shares[b, place, y, x])
        total = sum(exp(value) for value in row)
        expected = -sum(t * log(exp(value) / total) for t, value in zip(target, row, strict=True))
        assert each[b, y, x].item() == pytest.approx(expected, rel=1e-12)


def test_a_uniform_prediction_costs_log_q() -> None:
    _, classes, shares = given()
    each = soft_cross_entropy(torch.zeros(2, 313, 3, 4, dtype=torch.float64), classes, shares)
    assert each.flatten().tolist() == pytest.approx([log(313)] * 24)
    assert log(313) == pytest.approx(5.7462, abs=1e-4)


def test_the_least_is_the_entropy_of_the_shares() -> None:
    _, classes, shares = given()
    logits = torch.full((2, 7, 3, 4), -1e6, dtype=torch.float64).scatter(1, classes, shares.log())
    torch.testing.assert_close(soft_cross_entropy(logits, classes, shares), -(shares * shares.log()).sum(dim=1))


def test_gradient_by_central_differences() -> None:
    logits, classes, shares = given()
    assert torch.autograd.gradcheck(
        lambda x: soft_cross_entropy(x, classes, shares), [logits.requires_grad_()], atol=1e-6
    )


def test_a_shift_and_the_order_of_locations_change_nothing() -> None:
    logits, classes, shares = given()
    each = soft_cross_entropy(logits, classes, shares)
    torch.testing.assert_close(soft_cross_entropy(logits + 100, classes, shares), each)
    torch.testing.assert_close(soft_cross_entropy(*[x.flip(2) for x in (logits, classes, shares)]), each.flip(1))


def test_half_precision_is_computed_in_float32() -> None:
    logits, classes, shares = (x.float() if x.is_floating_point() else x for x in given())
    rounded = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        each = soft_cross_entropy(rounded, classes, shares)
    assert each.dtype == torch.float32
    torch.testing.assert_close(each, soft_cross_entropy(rounded.float(), classes, shares))
