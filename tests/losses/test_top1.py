"""Top-1 in plain loops, on one rank and as the mean of two, and of a few anchors only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfsight.losses import top1


def rows(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def related(count: int, views: int) -> Tensor:
    """Views of an image are alike, in some of the images."""
    strength = torch.linspace(0, 3, count)[:, None, None]
    return normalize(strength * rows(count, 1, 8) + rows(count, views, 8, seed=1), dim=-1)


@pytest.mark.parametrize("labels", [None, [0, 1, -1, 0, -1, 1, 2, 0, 2, -1, -1, 1]])
@pytest.mark.parametrize("views", [2, 3])
def test_views_are_found_among_all_others(labels: list[int] | None, views: int) -> None:
    every = related(12, views)
    names = list(range(12)) if labels is None else [label if label >= 0 else -1 - n for n, label in enumerate(labels)]
    right = 0
    for anchor in range(12):
        others = [(n, v) for n in range(12) for v in range(views) if (n, v) != (anchor, 0)]
        nearest = max(others, key=lambda place: float(every[place] @ every[anchor, 0]))
        right += names[nearest[0]] == names[anchor]
    assert 0 < right < 12
    told = None if labels is None else torch.tensor(labels)
    assert top1.of_views(every, every, told).item() == pytest.approx(right / 12)
    halves = [top1.of_views(every[at : at + 6], every, told, offset=at).item() for at in (0, 6)]
    assert sum(halves) / 2 == pytest.approx(right / 12)


def test_a_key_is_found_among_negatives() -> None:
    query, key = related(12, 2).unbind(dim=1)
    negatives = rows(40, 8, seed=2)
    right = sum(float(q @ k) > max(float(q @ n) for n in negatives) for q, k in zip(query, key, strict=True))
    assert 0 < right < 12
    assert top1.of_keys(query, key, negatives).item() == pytest.approx(right / 12)


def test_a_row_is_found_among_the_candidates_of_all_ranks() -> None:
    first, second = related(12, 2).unbind(dim=1)
    right = sum(max(range(12), key=lambda n: float(second[n] @ row)) == at for at, row in enumerate(first))
    assert 0 < right < 12
    assert top1.of_matches(first, second).item() == pytest.approx(right / 12)
    assert top1.of_matches(first[6:], second, offset=6) * 6 + top1.of_matches(first[:6], second) * 6 == right


def test_few_are_asked_and_nothing_is_learned_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top1, "ASKED", 3)
    every = related(12, 2).requires_grad_()
    first, second = every.unbind(dim=1)
    negatives = rows(40, 8, seed=2)
    found = top1.of_views(every, every), top1.of_keys(first, second, negatives), top1.of_matches(first, second)
    assert all((3 * float(one)).is_integer() and not one.requires_grad for one in found)
    assert torch.equal(found[0], top1.of_views(every[:3], every))
