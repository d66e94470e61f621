"""The exponential criterion: its curve, three reductions against a slow twin, and the price of looking at nothing."""

from __future__ import annotations

import json
from math import e, exp, expm1
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.losses.boxes import pair_iou
from selfsight.losses.exponential import REDUCTIONS, content_blind, cost, exponential

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["vdvs"]


def published(errors: list[float]) -> float:
    """Slow twin of the published line: where(d > 0, sum |exp(4 d) - 1|, sum |exp(-4 d) - 1|), summed."""
    above = sum(abs(exp(4 * d) - 1) for d in errors)
    below = sum(abs(exp(-4 * d) - 1) for d in errors)
    return sum(above if d > 0 else below for d in errors)


@pytest.mark.parametrize(("name", "expected"), CHECK["scalar_criterion"].items())
def test_curve(name: str, expected: float) -> None:
    place = float(name.strip("c()").replace("+-", ""))
    for sign in (1, -1):
        assert cost(torch.tensor(sign * place, dtype=torch.float64)).item() == pytest.approx(expected, rel=1e-12)


def test_slope_at_the_kink() -> None:
    near = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64, requires_grad=True)
    cost(near).sum().backward()
    assert near.grad.tolist() == pytest.approx([-4, 0, 4])
    assert cost(torch.tensor(0.25)).item() == pytest.approx(e - 1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_check_values(reduction: str) -> None:
    toy = CHECK["literal_toy"]
    errors = torch.tensor(toy["d"], dtype=torch.float64)
    assert exponential(errors, reduction).item() == pytest.approx(toy[reduction], rel=1e-12)


def test_slow_twins() -> None:
    errors = torch.from_numpy(np.random.default_rng(0).uniform(-2, 2, (5, 7)))
    flat = errors.flatten().tolist()
    total = sum(expm1(4 * abs(d)) for d in flat)
    assert exponential(errors, "sum").item() == pytest.approx(total, rel=1e-12)
    assert exponential(errors, "mean").item() == pytest.approx(total / 35, rel=1e-12)
    assert exponential(errors, "literal").item() == pytest.approx(published(flat), rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_which_argument_is_which_does_not_matter(reduction: str) -> None:
    errors = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, 40))
    assert exponential(-errors, reduction).item() == pytest.approx(exponential(errors, reduction).item(), rel=1e-12)


def test_the_literal_form_grows_with_the_square_of_the_count() -> None:
    """84 pairs beside 4 pictures: 441 to 1."""
    tiny = torch.tensor([1e-6, -1e-6], dtype=torch.float64)
    pairs, wholes = tiny.repeat(42), tiny.repeat(2)
    ratio = exponential(pairs, "literal") / exponential(wholes, "literal")
    assert ratio.item() == pytest.approx(441, rel=1e-4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient(reduction: str) -> None:
    errors = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, 9)).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: exponential(d, reduction), errors)


def test_full_precision() -> None:
    assert exponential(torch.tensor([0.1], dtype=torch.bfloat16)).dtype == torch.float32


def test_looking_at_nothing_costs_what_the_check_values_say() -> None:
    """Continuous positions: boxes of 4,096 pixels in pictures of 8,192."""
    known = CHECK["target_distribution_half_size_crops"]
    corners = torch.from_numpy(np.random.default_rng(0).integers(0, 4097, (50_000, 2, 2))).double()
    overlap = pair_iou(torch.cat([corners, torch.full_like(corners, 4096)], dim=-1)).flatten()
    assert overlap.mean().item() == pytest.approx(known["E_pair_iou"], abs=3e-3)
    assert overlap.std().item() == pytest.approx(known["sd_pair_iou"], abs=3e-3)
    assert content_blind(overlap) == pytest.approx(known["mean_loss1_of_best_constant"], rel=2e-2)
    assert exponential(overlap - 1).item() == pytest.approx(known["mean_loss1_if_all_cosines_1"], rel=2e-2)
    assert exponential(overlap).item() == pytest.approx(known["mean_loss1_if_all_cosines_0"], rel=2e-2)
    assert exponential(overlap - known["best_constant_cosine"]).item() == pytest.approx(
        content_blind(overlap), rel=1e-3
    )
