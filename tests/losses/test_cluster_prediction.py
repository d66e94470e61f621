"""Cluster prediction against slow twins in plain loops, with pictures that have no cluster."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.cluster_prediction import cluster_prediction, prototype_prediction
from selfsight.losses.precision import unit

CLUSTERS = torch.tensor([[0, 3, -1, 2], [1, 1, -1, 0], [-1, -1, -1, 3]])  # (H, B)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_twin(views: np.ndarray, prototypes: np.ndarray, clusters: np.ndarray, temperature: float) -> float:
    losses = []
    for h in range(len(prototypes)):
        for b in range(len(views)):
            for v in range(views.shape[1]):
                scores = [sum(views[b, v] * prototype) / temperature for prototype in prototypes[h]]
                if clusters[h, b] >= 0:
                    losses.append(log(sum(exp(score) for score in scores)) - scores[clusters[h, b]])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_slow_twin(temperature: float) -> None:
    views, prototypes = unit(drawn(4, 2, 5)), unit(drawn(3, 4, 5, seed=1))
    found = prototype_prediction(views, prototypes, CLUSTERS, temperature=temperature)
    expected = slow_twin(views.numpy(), prototypes.numpy(), CLUSTERS.numpy(), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_logits_alone() -> None:
    logits, clusters = drawn(4, 6), torch.tensor([5, -1, 0, 2])
    twin = [log(sum(exp(x) for x in row)) - row[k] for row, k in zip(logits.tolist(), clusters.tolist(), strict=True)]
    assert cluster_prediction(logits, clusters).item() == pytest.approx((twin[0] + twin[2] + twin[3]) / 3, rel=1e-12)
    assert cluster_prediction(torch.zeros(4, 6), clusters).item() == pytest.approx(log(6), rel=1e-6)


def test_nobody_assigned_is_nothing_to_learn() -> None:
    views = unit(drawn(4, 2, 5)).requires_grad_()
    loss = prototype_prediction(views, unit(drawn(3, 4, 5)), torch.full((3, 4), -1), temperature=0.1)
    loss.backward()
    assert loss.item() == 0
    assert views.grad is not None
    assert views.grad.abs().max() == 0


def test_gradients_by_central_differences() -> None:
    prototypes = unit(drawn(3, 4, 5, seed=1))
    views, logits = drawn(4, 2, 5).requires_grad_(), drawn(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: prototype_prediction(unit(v), prototypes, CLUSTERS, temperature=0.3), [views], atol=1e-6
    )
    assert torch.autograd.gradcheck(lambda x: cluster_prediction(x, torch.tensor([0, -1, 2, 1])), [logits], atol=1e-6)


def test_bf16_is_computed_in_float32() -> None:
    views, prototypes = unit(drawn(4, 2, 5)).float(), unit(drawn(3, 4, 5)).float()
    expected = prototype_prediction(views, prototypes, CLUSTERS, temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prototype_prediction(views, prototypes, CLUSTERS, temperature=0.1), expected)
        assert cluster_prediction(views[:, 0].bfloat16(), torch.zeros(4, dtype=torch.long)).dtype == torch.float32
