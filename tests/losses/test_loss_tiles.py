"""Losses by tiles against the whole matrix in float64: in float32 the same value and gradient, in less memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from selfsight.losses import tiles
from selfsight.losses.info_nce import info_nce
from selfsight.losses.matching import matching
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit
from selfsight.losses.pull_push import PENALTIES, pull, push
from selfsight.losses.supcon import FORMS, sup_con

IMAGES, WIDTH, RANKS = 120, 16, 3
LABELS = torch.arange(IMAGES) * 7 % 11 - 1  # ten classes, and pictures without a label
SAME = LABELS[:, None] == LABELS

Loss = Callable[[Tensor], Tensor]


def views(count: int = 2) -> Tensor:
    """Unit rows (IMAGES, count, WIDTH) in float64, with some structure."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(IMAGES, count, WIDTH, dtype=torch.float64, generator=generator)
    return unit(rows + torch.randn(IMAGES, 1, WIDTH, dtype=torch.float64, generator=generator))


def dense_nt_xent(rows: Tensor, temperature: float) -> Tensor:
    logits = torch.cat(rows.unbind(1)) @ torch.cat(rows.unbind(1)).T / temperature
    logits = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool), float("-inf"))
    return cross_entropy(logits, torch.arange(2 * IMAGES).roll(IMAGES))


def dense_sup_con(rows: Tensor, temperature: float, form: str) -> Tensor:
    every, itself = torch.cat(rows.unbind(1)), torch.eye(rows.shape[0] * rows.shape[1], dtype=torch.bool)
    same = (SAME & (LABELS >= 0) | torch.eye(IMAGES, dtype=torch.bool)).repeat(rows.shape[1], rows.shape[1]) & ~itself
    logs = (every @ every.T / temperature).masked_fill(itself, float("-inf")).log_softmax(dim=1)
    if form == "outside":
        return -(logs.masked_fill(~same, 0.0).sum(dim=1) / same.sum(dim=1)).mean()
    inside = logs.masked_fill(~same, float("-inf")).logsumexp(dim=1)
    return -(inside - same.sum(dim=1).log() if form == "inside" else inside).mean()


def dense_info_nce(rows: Tensor, temperature: float) -> Tensor:
    query, key, negatives = rows.unbind(1)
    logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ negatives.T], dim=1) / temperature
    return cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long))


def dense_matching(rows: Tensor, temperature: float) -> Tensor:
    return cross_entropy(rows[:, 0] @ rows[:, 1].T / temperature, torch.arange(IMAGES))


def dense_pull_push(rows: Tensor, penalty: str) -> Tensor:
    scores = unit(rows[:, 0]) @ unit(rows[:, 0]).T
    near = 1 - scores[SAME & ~torch.eye(IMAGES, dtype=torch.bool)]
    costs = {"hinge": scores.relu(), "squared_hinge": scores.relu() ** 2, "linear": scores, "minus_one": 1 + scores}
    return near.where(near > 0.2, 0).mean() + costs[penalty][~SAME].mean()


def ours_sup_con(rows: Tensor, temperature: float, form: str) -> Tensor:
    found, count = sup_con(rows, LABELS, temperature=temperature, form=form)
    return found / count


def ours_pull_push(rows: Tensor, penalty: str) -> Tensor:
    return pull(rows[:, 0], LABELS, margin=0.2) + push(rows[:, 0], LABELS, penalty=penalty)


def cases() -> Iterator[tuple[str, Loss, Loss, int]]:
    """Name, ours, the whole matrix, views."""
    for t in (0.07, 0.5):
        yield f"nt_xent {t}", lambda v, t=t: nt_xent(*v.unbind(1), temperature=t), lambda v, t=t: dense_nt_xent(v, t), 2
        yield (
            f"info_nce {t}",
            lambda v, t=t: info_nce(*v.unbind(1), temperature=t),
            lambda v, t=t: dense_info_nce(v, t),
            3,
        )
        yield (
            f"matching {t}",
            lambda v, t=t: matching(*v.unbind(1), temperature=t),
            lambda v, t=t: dense_matching(v, t),
            2,
        )
        for f in FORMS:
            ours, dense = (lambda v, t=t, f=f, loss=loss: loss(v, t, f) for loss in (ours_sup_con, dense_sup_con))
            yield f"sup_con {f} {t}", ours, dense, 3
    for p in PENALTIES:
        yield f"pull_push {p}", lambda v, p=p: ours_pull_push(v, p), lambda v, p=p: dense_pull_push(v, p), 1


CASES = {name: rest for name, *rest in cases()}


def close(found: Tensor, expected: Tensor, rows: Tensor, twins: Tensor) -> None:
    """Value and gradient to 1e-6 of the float64 twin's."""
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    slope, wanted = torch.autograd.grad(found, rows)[0], torch.autograd.grad(expected, twins)[0]
    assert float((slope - wanted).norm()) <= 1e-6 * float(wanted.norm())


@pytest.mark.parametrize("tile", [1, 5000, tiles.TILE], ids=["rows", "strips", "at once"])
@pytest.mark.parametrize("name", CASES)
def test_the_whole_matrix_in_float64(name: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the strip, the last of which is narrower."""
    monkeypatch.setattr(tiles, "TILE", tile)
    ours, dense, count = CASES[name]
    rows, twins = views(count).float().requires_grad_(), views(count).requires_grad_()
    close(ours(rows), dense(twins), rows, twins)


@pytest.mark.parametrize("name", ["nt_xent", *FORMS])
def test_candidates_of_several_ranks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank's anchors against everybody's views: together they are the whole, the candidates' gradient too."""
    monkeypatch.setattr(tiles, "TILE", 5000)
    rows, twins = views().float().requires_grad_(), views().requires_grad_()
    every, each = rows.unbind(1), IMAGES // RANKS
    found = torch.zeros(())
    for start in range(0, IMAGES, each):
        own = rows[start : start + each]
        if name == "nt_xent":
            part = nt_xent(*own.unbind(1), temperature=0.1, candidates=every, offset=start) / RANKS
        else:
            part, _ = sup_con(own, LABELS, temperature=0.1, form=name, candidates=rows, offset=start)
            part = part / (2 * IMAGES)
        found = found + part
    close(found, dense_nt_xent(twins, 0.1) if name == "nt_xent" else dense_sup_con(twins, 0.1, name), rows, twins)


def test_what_needs_no_gradient_costs_none() -> None:
    first, second = views().unbind(1)
    assert not nt_xent(first, second, temperature=0.5).requires_grad
    with torch.no_grad():
        assert not nt_xent(first.requires_grad_(), second, temperature=0.5).requires_grad


GROWTH = """
import torch
from selfsight.losses import tiles
from selfsight.losses.info_nce import info_nce
from selfsight.losses.matching import matching
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit
from selfsight.losses.pull_push import pull, push
from selfsight.losses.sigreg import sigreg
from selfsight.losses.supcon import sup_con
from selfsight.training.memory import growth

losses = {
    "nt_xent": lambda rows, labels: nt_xent(*rows.chunk(2), temperature=0.1),
    "sup_con": lambda rows, labels: sup_con(rows[:, None], labels, temperature=0.1)[0],
    "info_nce": lambda rows, labels: info_nce(rows, rows, rows.detach(), temperature=0.1),
    "matching": lambda rows, labels: matching(rows, rows, temperature=0.1),
    "pull": pull,
    "push": push,
    "sigreg": lambda rows, labels: sigreg(rows, rows[:64].detach().T),
}
tiles.TILE = 2**16
rows, labels = unit(torch.randn(4096, 32)).requires_grad_(), torch.arange(4096) // 4
for name, loss in losses.items():
    loss(rows[:1024], labels[:1024]).backward()  # kernels are loaded, and MKL has its buffers
    print(name, growth(lambda: loss(rows, labels).backward()) / 2**20)
"""


def test_memory() -> None:
    """4,096 rows by tiles of 256 KiB: one matrix of their scores is 64 MiB, and the whole form has four and more; by
    knots: the rows along 64 directions are 1 MiB, and all knots have 32."""
    told = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    found = {name: float(grown) for name, grown in map(str.split, told.stdout.splitlines())}
    assert len(found) == 7
    assert max(found.values()) < 12, found
