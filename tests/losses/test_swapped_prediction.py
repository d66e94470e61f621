"""Self-distillation: the published check values, a slow twin in plain loops, and what does not matter."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.swapped_prediction import sharpened, swapped_prediction

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["dino"]
GIVEN = {name: torch.tensor(value, dtype=torch.float64) for name, value in CHECK["inputs"].items()}
STUDENT, TEACHER = GIVEN["student_crops"].transpose(0, 1), GIVEN["teacher_globals"].transpose(0, 1)  # (B, V, K)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss_of(student: Tensor, teacher: Tensor, centre: Tensor) -> float:
    return swapped_prediction(student, sharpened(teacher, centre, temperature=0.04), temperature=0.1).item()


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum())


def slow_twin(student: np.ndarray, teacher: np.ndarray, centre: np.ndarray) -> float:
    losses = []
    for g in range(teacher.shape[1]):
        for v in range(student.shape[1]):
            for b in range(len(student)):
                if v != g:
                    shares = softmax((teacher[b, g] - centre) / 0.04)
                    guess = softmax(student[b, v] / 0.1)
                    losses.append(-sum(share * log(p) for share, p in zip(shares, guess, strict=True)))
    return float(np.mean(losses))


def test_check_values() -> None:
    known = CHECK["expected"]
    assert loss_of(STUDENT, TEACHER, GIVEN["center"]) == pytest.approx(known["loss"], rel=1e-9)
    assert TEACHER.shape[1] * STUDENT.shape[1] - TEACHER.shape[1] == known["number_of_terms"]
    centre = GIVEN["center"].lerp(TEACHER.mean(dim=(0, 1)), 0.1)
    assert centre.tolist() == pytest.approx(known["center_after_update"], rel=1e-9)
    for count in (4, 65536):
        zeros = torch.zeros(1, 2, count, dtype=torch.float64)
        even = loss_of(zeros, zeros, zeros[0, 0])
        assert even == pytest.approx(known[f"uniform_student_loss_K{count}"], rel=1e-9)


@pytest.mark.parametrize("views", [2, 5])
def test_slow_twin(views: int) -> None:
    student, teacher, centre = drawn(3, views, 6) / 4, drawn(3, 2, 6, seed=1) / 9, drawn(6, seed=2) / 9
    assert loss_of(student, teacher, centre) == pytest.approx(
        slow_twin(student.numpy(), teacher.numpy(), centre.numpy()), rel=1e-9
    )


def test_a_constant_added_to_scores_changes_nothing() -> None:
    before = loss_of(STUDENT, TEACHER, GIVEN["center"])
    assert loss_of(STUDENT + 3, TEACHER - 2, GIVEN["center"]) == pytest.approx(before, rel=1e-12)


def test_gradient_by_central_differences_and_precision() -> None:
    shares = sharpened(drawn(2, 2, 5), torch.zeros(5, dtype=torch.float64), temperature=0.5)
    student = drawn(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, shares, temperature=0.3), [student], atol=1e-6)
    narrow, expected = student.detach().float(), swapped_prediction(student.float(), shares.float(), temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(swapped_prediction(narrow, shares.float(), temperature=0.1), expected)
        assert sharpened(narrow.bfloat16(), torch.zeros(5), temperature=0.04).dtype == torch.float32


def test_extreme_scores_stay_finite() -> None:
    same = torch.full((2, 3, 4), 1e4)
    assert np.isfinite(loss_of(same, same[:, :2], torch.zeros(4)))
    assert np.isfinite(loss_of(torch.zeros(2, 3, 4), torch.eye(4)[None, :2].repeat(2, 1, 1) * 1e4, torch.zeros(4)))
