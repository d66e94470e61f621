"""InfoNCE against its check values and a slow twin in plain loops."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import pytest
import torch

from selfsight.losses.info_nce import info_nce
from selfsight.losses.precision import unit

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["moco_infonce"]


def slow_twin(query, key, negatives, temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    total = 0.0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        own = exp(cosine(q, k) / temperature)
        total -= log(own / (own + sum(exp(cosine(q, n) / temperature) for n in negatives.tolist())))
    return total / len(query)


def rows(count: int, seed: int, width: int = 4) -> torch.Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_check_values(temperature: float) -> None:
    query, key = (torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in "qk")
    queue = torch.tensor(CHECK["inputs"]["queue_D_by_K"], dtype=torch.float64).T
    loss = info_nce(unit(query), unit(key), queue, temperature=temperature)
    assert loss.item() == pytest.approx(CHECK["expected"][f"loss_T{temperature}"], rel=1e-9)


def test_closed_forms() -> None:
    expected, *chances = CHECK["closed_forms"].values()
    basis = torch.eye(7, dtype=torch.float64)
    orthogonal = info_nce(basis[:1], basis[:1], basis[1:], temperature=0.2)
    assert orthogonal.item() == pytest.approx(expected, rel=1e-9)
    for count, chance in zip((65536, 4096), chances, strict=True):
        blind = info_nce(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(count, 3), temperature=0.1)
        assert blind.item() == pytest.approx(chance, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_slow_twin(temperature: float) -> None:
    query, key, negatives = rows(5, 0), rows(5, 1), rows(11, 2)
    loss = info_nce(unit(query), unit(key), unit(negatives), temperature=temperature)
    assert loss.item() == pytest.approx(slow_twin(query, key, negatives, temperature), rel=1e-12)


def test_gradient_by_central_differences() -> None:
    key, negatives = unit(rows(3, 1)), unit(rows(5, 2))
    query = rows(3, 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: info_nce(unit(q), key, negatives, temperature=0.3), [query], atol=1e-6)


def test_order_of_queries_and_of_negatives_changes_nothing() -> None:
    query, key, negatives = unit(rows(5, 0)), unit(rows(5, 1)), unit(rows(9, 2))
    plain = info_nce(query, key, negatives, temperature=0.2)
    moved = info_nce(query.flip(0), key.flip(0), negatives.flip(0), temperature=0.2)
    torch.testing.assert_close(moved, plain)


def test_autocast_computes_in_float32() -> None:
    query, key, negatives = unit(rows(5, 0)).float(), unit(rows(5, 1)).float(), unit(rows(9, 2)).float()
    expected = info_nce(query, key, negatives, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(query, key, negatives, temperature=0.07)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def test_mean_of_the_ranks_is_one_rank() -> None:
    query, key, negatives = rows(6, 0).requires_grad_(), unit(rows(6, 1)), unit(rows(9, 2))
    whole = info_nce(unit(query), key, negatives, temperature=0.2)
    parts = [info_nce(unit(query[i : i + 3]), key[i : i + 3], negatives, temperature=0.2) for i in (0, 3)]
    shared = torch.stack(parts).mean()
    torch.testing.assert_close(shared, whole)
    torch.testing.assert_close(torch.autograd.grad(shared, query), torch.autograd.grad(whole, query))


def test_zero_rows_are_finite() -> None:
    query = torch.zeros(2, 3, requires_grad=True)
    info_nce(unit(query), torch.zeros(2, 3), torch.zeros(4, 3), temperature=0.1).backward()
    assert query.grad is not None
    assert torch.isfinite(query.grad).all()
