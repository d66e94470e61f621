"""The teacher: check values, parameters only, no gradient."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from selfsight.nn.teacher import Still, follow, frozen_copy, momentum

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())
EMA = CHECKS["moco_infonce"]["ema"]


def test_check_values() -> None:
    student, teacher = nn.Linear(1, 1, dtype=torch.float64), nn.Linear(1, 1, dtype=torch.float64)
    for module, value in ((student, EMA["theta_q"]), (teacher, EMA["theta_k"])):
        for p in module.parameters():
            nn.init.constant_(p, value)
    seen = []
    for _ in range(100):
        follow(teacher, student, EMA["m"])
        seen.append(teacher.weight.item())
    expected = [EMA["after_1"], EMA["after_2_with_theta_q_fixed"], EMA["after_100"]]
    assert [seen[0], seen[1], seen[99]] == pytest.approx(expected, rel=1e-12)


def test_only_parameters_follow_and_buffers_are_its_own() -> None:
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    teacher = frozen_copy(student)
    assert all(not p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    student(torch.randn(8, 3))
    before = {name: b.clone() for name, b in teacher.named_buffers()}
    follow(teacher, student, 0.5)
    assert all(torch.equal(b, before[name]) for name, b in teacher.named_buffers())
    teacher(torch.randn(8, 3))
    assert not torch.equal(teacher[1].running_mean, before["1.running_mean"])


def test_a_teacher_drops_nothing_though_its_student_does() -> None:
    student = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), DropPath(0.5))
    teacher, rows = frozen_copy(student).train(), torch.randn(64, 8)
    assert all(module.training for module in teacher.modules())
    assert not torch.equal(student(rows), teacher(rows))
    assert torch.equal(student.eval()(rows), teacher(rows))


def test_a_still_teacher_learns_nothing_and_stays_in_eval_mode() -> None:
    student = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    whole = nn.ModuleDict({"student": student, "teacher": Still(student)}).train()
    assert student.training
    assert not any(module.training for module in whole["teacher"].modules())
    assert not any(p.requires_grad for p in whole["teacher"].parameters())
    assert whole["teacher"].module[0].weight is not student[0].weight


def test_the_ends_of_the_momentum() -> None:
    student, teacher = nn.Linear(3, 2), frozen_copy(nn.Linear(3, 2))
    before = teacher.weight.clone()
    follow(teacher, student, 1.0)
    assert torch.equal(teacher.weight, before)
    follow(teacher, student, 0.0)
    torch.testing.assert_close(teacher.weight, student.weight.detach())
    with pytest.raises(ValueError, match=r"1\.5"):
        follow(teacher, student, 1.5)


def test_momentum_grows_to_its_end() -> None:
    for start in (0.996, 0.99):
        expected = CHECKS["byol"]["tau_schedule"][f"tau0={start}"]
        for share, value in expected.items():
            assert momentum(int(share.removeprefix("k=")) / 100, start) == pytest.approx(value, rel=1e-12)
    assert momentum(1, 0.99, 0.999) == pytest.approx(0.999)
    assert momentum(0.3, 0.99, 0.99) == pytest.approx(0.99)
