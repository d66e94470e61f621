"""Classification: against a slow twin, at its closed forms, and in full precision."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from selfsight.losses.classification import classification


def twin(logits: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """One question after another, in float64."""
    losses, right = [], []
    for row, answer in zip(logits.reshape(-1, logits.shape[-1]), answers.ravel(), strict=True):
        losses.append(log(sum(exp(value - row[answer]) for value in row)))
        right.append(float(max(range(len(row)), key=lambda k: row[k]) == answer))
    return float(np.mean(losses)), float(np.mean(right))


def questions(*shape: int, kinds: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(*shape, kinds, generator=generator, dtype=torch.float64)
    return logits, torch.randint(kinds, shape, generator=generator)


@pytest.mark.parametrize("shape", [(7,), (4, 1), (3, 4)])
def test_equals_the_slow_twin(shape: tuple[int, ...]) -> None:
    logits, answers = questions(*shape)
    found = classification(logits, answers)
    assert [value.item() for value in found] == pytest.approx(list(twin(logits.numpy(), answers.numpy())), rel=1e-12)


def test_gradient() -> None:
    logits, answers = questions(6)
    assert torch.autograd.gradcheck(lambda x: classification(x, answers)[0], logits.requires_grad_())


@pytest.mark.parametrize("kinds", [4, 8, 100])
def test_logits_that_say_nothing_give_the_logarithm(kinds: int) -> None:
    for value in (0.0, 7.0, 1e4):
        loss, _ = classification(torch.full((9, kinds), value), torch.arange(9) % kinds)
        assert loss.item() == pytest.approx(log(kinds))


def test_being_sure_and_right_costs_nothing() -> None:
    loss, accuracy = classification(100 * torch.eye(4), torch.arange(4))
    assert (loss.item(), accuracy.item()) == (0.0, 1.0)


def test_neither_the_order_of_the_batch_nor_a_shift_matters() -> None:
    logits, answers = questions(8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    expected = classification(logits, answers)
    torch.testing.assert_close(classification(logits[order], answers[order]), expected)
    torch.testing.assert_close(classification(logits + torch.arange(8)[:, None], answers), expected)


def test_float32_under_autocast_and_no_gradient_of_the_accuracy() -> None:
    logits, answers = questions(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, accuracy = classification(logits.bfloat16().requires_grad_(), answers)
    assert loss.dtype == accuracy.dtype == torch.float32
    assert loss.requires_grad
    assert not accuracy.requires_grad
