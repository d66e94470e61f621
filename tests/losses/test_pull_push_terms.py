"""Pull and push against their check values, a slow twin in plain loops, and what the two promise of each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.pull_push import PAIRS, PENALTIES, literal, pull, push

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["pull_push"]
DEGENERATE = torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0]], dtype=torch.float64)  # both poles, twice
LAYOUTS = {  # features (P, K, D) of the three examples of the check entry
    "expected": torch.tensor(CHECK["inputs"]["features_P_K_D"], dtype=torch.float64),
    "degenerate_example": DEGENERATE[:, None].repeat(1, 2, 1),
    "orthonormal_identities": torch.eye(4, dtype=torch.float64)[:, None].repeat(1, 2, 1),
}


def flat(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (P * K, D) and their labels."""
    people, samples = features.shape[:2]
    return features.flatten(0, 1), torch.arange(people).repeat_interleave(samples)


def random_rows(count: int = 12, width: int = 5, labels: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, width, dtype=torch.float64, generator=generator, requires_grad=True)
    return rows, torch.randint(0, labels, (count,), generator=generator)


def slow_twin(rows: np.ndarray, labels: list[int], pairs: str, penalty: str, margin: float) -> tuple[float, float]:
    penalties = {
        "hinge": lambda s: max(0.0, s),
        "squared_hinge": lambda s: max(0.0, s) ** 2,
        "linear": lambda s: s,
        "minus_one": lambda s: s + 1,
    }
    unit = [row / np.sqrt((row**2).sum()) for row in rows]
    near = [0.0 if 1 - a @ b < margin else 1 - a @ b for a, b in chosen(unit, labels, same=True)]
    if pairs != "all":
        names = sorted(set(labels))
        members = [[row for row, label in zip(unit, labels, strict=True) if label == name] for name in names]
        means = [np.sum(group, axis=0) for group in members]
        unit = [group[0] if pairs == "first" else m / np.sqrt(m @ m) for group, m in zip(members, means, strict=True)]
        labels = names
    far = [penalties[penalty](float(a @ b)) for a, b in chosen(unit, labels, same=False)]
    return float(np.mean(near)), float(np.mean(far))


def chosen(rows: list[np.ndarray], labels: list[int], same: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    numbers = range(len(rows))
    return [(rows[i], rows[j]) for i in numbers for j in numbers if i != j and (labels[i] == labels[j]) == same]


@pytest.mark.parametrize("name", LAYOUTS)
def test_check_values(name: str) -> None:
    features = LAYOUTS[name]
    values = CHECK[name]["result"] if "result" in CHECK[name] else CHECK[name]
    rows, labels = flat(features)
    near = pull(rows, labels)
    found = {
        "pull": near,
        "pull_offdiag_mean": near,
        "push_first_sample": push(rows, labels, pairs="first", penalty="linear"),
        "seed_loss": literal(rows, features.shape[1]),
        "push_all_pairs": push(rows, labels, penalty="linear"),
        "corrected_loss_linear": near + push(rows, labels, penalty="linear"),
        "push_hinge_target0": push(rows, labels),
        "push_squared_hinge_target0": push(rows, labels, penalty="squared_hinge"),
        "push_target_minus1": push(rows, labels, penalty="minus_one"),
        "loss_hinge0": near + push(rows, labels),
    }
    assert found.keys() == values.keys()
    for key, value in found.items():
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(values[key], rel=1e-9, abs=1e-12), key


def test_the_bound_of_the_mean_is_reached_by_identities_that_coincide() -> None:
    rows, labels = flat(LAYOUTS["degenerate_example"])
    assert push(rows, labels, penalty="linear").item() == pytest.approx(CHECK["degenerate_example"]["lower_bound"])
    assert push(rows, labels) > 0, "the hinge sees it"


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_slow_twin(pairs: str, penalty: str, margin: float) -> None:
    rows, labels = random_rows()
    near, far = slow_twin(rows.detach().numpy(), labels.tolist(), pairs, penalty, margin)
    assert pull(rows, labels, margin=margin).item() == pytest.approx(near, rel=1e-12)
    assert push(rows, labels, pairs=pairs, penalty=penalty).item() == pytest.approx(far, rel=1e-12)


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradients(pairs: str, penalty: str) -> None:
    rows, labels = random_rows()
    assert torch.autograd.gradcheck(lambda x: push(x, labels, pairs=pairs, penalty=penalty), (rows,))
    assert torch.autograd.gradcheck(lambda x: pull(x, labels, margin=0.1), (rows,))
    assert torch.autograd.gradcheck(lambda x: literal(x, 3), (rows,))


def test_literal_is_linear_push_of_the_first_samples() -> None:
    rows, _ = random_rows()
    labels = torch.arange(4).repeat_interleave(3)
    expected = pull(rows, labels) + push(rows, labels, pairs="first", penalty="linear")
    torch.testing.assert_close(literal(rows, 3), expected)
    torch.testing.assert_close(literal(torch.cat([rows, rows[:2]]), 3), expected)  # two rows make no identity of three


def test_a_term_without_pairs_is_zero() -> None:
    rows, _ = random_rows(6)
    one, each = torch.zeros(6, dtype=torch.int64), torch.arange(6)
    assert pull(rows, each) == 0
    assert push(rows, one) == 0
    assert literal(rows, 6) == pull(rows, one)
    torch.testing.assert_close(literal(rows, 1), push(rows, each, penalty="linear"))
    (pull(rows, each) + push(rows, one)).backward()
    assert torch.isfinite(rows.grad).all()


def test_scale_order_and_names_do_not_matter() -> None:
    rows, labels = random_rows()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    for pairs in ("all", "centroid"):
        values = push(rows, labels, pairs=pairs) + pull(rows, labels)
        other = push(7 * rows[order], 50 - labels[order], pairs=pairs) + pull(7 * rows[order], 50 - labels[order])
        torch.testing.assert_close(values, other)


def test_zero_and_identical_rows_are_finite() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    for rows in (torch.zeros(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)):
        terms = [push(rows, labels, pairs=pairs, penalty=p) for pairs in PAIRS for p in PENALTIES]
        total = torch.stack([*terms, pull(rows, labels), literal(rows, 2)]).sum()
        total.backward()
        assert torch.isfinite(total)
        assert torch.isfinite(rows.grad).all()


def test_autocast_computes_in_float32() -> None:
    rows, labels = random_rows(16)
    rows = rows.detach().float()
    expected = push(rows, labels, pairs="centroid") + pull(rows, labels) + literal(rows, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = push(rows, labels, pairs="centroid") + pull(rows, labels) + literal(rows, 4)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()
