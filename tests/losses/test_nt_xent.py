"""NT-Xent against its check values, a slow twin in plain loops, two other libraries and itself on two ranks."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import NTXentLoss as MetricLearningNTXent
from torch import multiprocessing

from selfsight import distributed
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["ntxent"]


def random_pair(images: int = 6, width: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, width, dtype=dtype, generator=generator, requires_grad=True) for _ in range(2)]


def slow_twin(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    rows = [list(map(float, row)) for row in np.concatenate([first, second])]
    rows = [[x / sum(y * y for y in row) ** 0.5 for x in row] for row in rows]
    images, total = len(first), 0.0
    for i, anchor in enumerate(rows):
        weights = {
            k: exp(sum(x * y for x, y in zip(anchor, other, strict=True)) / temperature)
            for k, other in enumerate(rows)
            if k != i
        }
        total -= log(weights[(i + images) % (2 * images)] / sum(weights.values()))
    return total / len(rows)


@pytest.mark.parametrize(("temperature", "expected"), CHECK["expected"]["loss_by_temperature"].items())
def test_check_values(temperature: str, expected: float) -> None:
    first, second = (torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in ("z1", "z2"))
    loss = nt_xent(unit(first), unit(second), temperature=float(temperature))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_check_gradient() -> None:
    first, second = (torch.tensor(CHECK["inputs"][name], dtype=torch.float64) for name in ("z1", "z2"))
    first.requires_grad_()
    nt_xent(unit(first), unit(second), temperature=0.5).backward()
    expected = torch.tensor(CHECK["expected"]["grad_wrt_z1_T0.5_central_difference_tol1e-7"], dtype=torch.float64)
    torch.testing.assert_close(first.grad, expected, atol=1e-7, rtol=0)


def test_closed_forms() -> None:
    closed = CHECK["closed_forms"]["value"]
    same = torch.ones(4, 3, dtype=torch.float64)
    orthonormal = torch.eye(4, dtype=torch.float64)
    assert nt_xent(unit(same), unit(same), temperature=0.5).item() == pytest.approx(closed["collapse_N4"], rel=1e-9)
    for temperature in (0.5, 0.1):
        expected = closed[f"orthonormal_N4_T{temperature}"]
        assert nt_xent(orthonormal, orthonormal, temperature=temperature).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_slow_twin(temperature: float) -> None:
    first, second = random_pair()
    expected = slow_twin(first.detach().numpy(), second.detach().numpy(), temperature)
    assert nt_xent(unit(first), unit(second), temperature=temperature).item() == pytest.approx(expected, rel=1e-12)


def gradients_of(loss: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_lightly(temperature: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import NTXentLoss

    pair = random_pair(32, 16, dtype)
    theirs = NTXentLoss(temperature=temperature)(*pair)
    ours = nt_xent(unit(pair[0]), unit(pair[1]), temperature=temperature)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients_of(ours, pair), gradients_of(theirs, pair), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_agrees_with_pytorch_metric_learning(temperature: float) -> None:
    pair = random_pair(32, 16)
    theirs = MetricLearningNTXent(temperature=temperature)(torch.cat(pair), torch.arange(32).repeat(2))
    ours = nt_xent(unit(pair[0]), unit(pair[1]), temperature=temperature)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients_of(ours, pair), gradients_of(theirs, pair), atol=1e-6, rtol=1e-6)


def test_gradient_by_central_differences() -> None:
    pair = random_pair(3, 4)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(unit(a), unit(b), temperature=0.3), pair, atol=1e-6)


def test_common_permutation_and_scale_change_nothing() -> None:
    first, second = random_pair()
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1))
    plain = nt_xent(unit(first), unit(second), temperature=0.2)
    moved = nt_xent(unit(3 * first[order]), unit(0.1 * second[order]), temperature=0.2)
    torch.testing.assert_close(moved, plain)


def test_finite_for_zero_and_for_identical_rows() -> None:
    for rows in (torch.zeros(4, 3), torch.ones(4, 3)):
        rows.requires_grad_()
        loss = nt_xent(unit(rows), unit(rows), temperature=0.1)
        loss.backward()
        assert loss.item() == pytest.approx(log(7), rel=1e-5)
        assert rows.grad is not None
        assert torch.isfinite(rows.grad).all()


def test_autocast_computes_in_float32() -> None:
    first, second = (p.detach().float() for p in random_pair(16, 8))
    expected = nt_xent(unit(first), unit(second), temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(unit(first), unit(second), temperature=0.07)
        half = nt_xent(unit(first.bfloat16()), unit(second.bfloat16()), temperature=0.07)
    assert loss.dtype == half.dtype == torch.float32
    assert loss.item() == expected.item()


@pytest.mark.parametrize("ranks", [2, 3])
def test_mean_of_the_ranks_is_one_rank(ranks: int) -> None:
    pair = random_pair(6)
    whole = nt_xent(unit(pair[0]), unit(pair[1]), temperature=0.2)
    candidates = (unit(pair[0]), unit(pair[1]))
    each = 6 // ranks
    losses = [
        nt_xent(
            candidates[0][r * each : (r + 1) * each],
            candidates[1][r * each : (r + 1) * each],
            temperature=0.2,
            candidates=candidates,
            offset=r * each,
        )
        for r in range(ranks)
    ]
    shared = torch.stack(losses).mean()
    torch.testing.assert_close(shared, whole)
    torch.testing.assert_close(gradients_of(shared, pair), gradients_of(whole, pair))


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    own = torch.stack([p.detach() for p in random_pair()], dim=1)[3 * rank : 3 * rank + 3]
    views = unit(own @ weights.T)
    everyone = distributed.gather(views)
    candidates = (everyone[:, 0], everyone[:, 1])
    loss = nt_xent(views[:, 0], views[:, 1], temperature=0.2, candidates=candidates, offset=3 * rank)
    loss.backward()
    both = torch.cat([loss.detach().view(1), weights.grad.flatten()])
    dist.all_reduce(both)
    if rank == 0:
        torch.save(both / 2, f"{folder}/mean.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(one_of_two, (str(tmp_path),), nprocs=2, start_method="forkserver")
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    first, second = (unit(p.detach() @ weights.T) for p in random_pair())
    loss = nt_xent(first, second, temperature=0.2)
    loss.backward()
    both = torch.load(tmp_path / "mean.pt")
    torch.testing.assert_close(both, torch.cat([loss.detach().view(1), weights.grad.flatten()]))
