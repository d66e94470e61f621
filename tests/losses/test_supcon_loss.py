"""SupCon against its check values, a slow twin in plain loops, another library, NT-Xent and itself on two ranks."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, multiprocessing

from selfsight import distributed
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit
from selfsight.losses.supcon import FORMS, positive, sup_con

VALUES = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())
CHECK, NT_XENT = VALUES["supcon"], VALUES["ntxent"]
LABELS = torch.tensor([2, 0, 2, -1, 0, -1])  # classes of two, and two pictures without a label


def random_views(images: int = 6, views: int = 2, width: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, views, width, dtype=dtype, generator=generator).requires_grad_()


def loss_of(views: Tensor, labels: Tensor, **options: object) -> Tensor:
    total, count = sup_con(unit(views), labels, **options)
    return total / count


def slow_twin(
    views: np.ndarray, labels: list[int], temperature: float, form: str, mode: str, empty: str, base: float
) -> float:
    """Anchor by anchor, positive by positive."""
    images, count = views.shape[:2]
    rows = {(b, v): views[b, v] / np.sqrt(sum(x * x for x in views[b, v])) for b in range(images) for v in range(count)}
    losses = []
    for b, v in rows:
        if mode == "one" and v > 0:
            continue
        near = {k: exp(float(np.dot(rows[b, v], row)) / temperature) for k, row in rows.items() if k != (b, v)}
        alike = [k for k in near if k[0] == b or labels[b] == labels[k[0]] >= 0]
        shares = [near[k] / sum(near.values()) for k in alike]
        if not shares:
            losses += [0.0] if empty == "zero" else []
        elif form == "outside":
            losses.append(-sum(log(share) for share in shares) / len(shares))
        else:
            losses.append(-log(sum(shares) / (len(shares) if form == "inside" else 1)))
    return temperature / base * sum(losses) / len(losses)


def gradient_of(loss: Tensor, views: Tensor) -> Tensor:
    return torch.autograd.grad(loss, views)[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L_out_T0.1_base0.1", {"temperature": 0.1}),
        ("L_out_T0.1_base0.07", {"temperature": 0.1, "base_temperature": 0.07}),
        ("L_out_T0.07_base0.07", {"temperature": 0.07, "base_temperature": 0.07}),
        ("L_in_T0.1", {"temperature": 0.1, "form": "inside"}),
        ("sum_in_log_T0.1", {"temperature": 0.1, "form": "sum-in-log"}),
        ("unique_labels_T0.5", {"temperature": 0.5, "labels": torch.arange(4)}),
        ("ntxent_same_T0.5", {"temperature": 0.5, "labels": torch.full((4,), -1)}),
    ],
)
def test_check_values(name: str, options: dict[str, object]) -> None:
    views = torch.tensor(CHECK["inputs"]["features_B_V_D"], dtype=torch.float64)
    loss = loss_of(views, **{"labels": torch.tensor(CHECK["inputs"]["labels"]), **options})
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(CHECK["expected"][name], rel=1e-9)


def test_check_value_of_three_views() -> None:
    views = torch.tensor(CHECK["inputs"]["features3_B_V_D"], dtype=torch.float64)
    loss = loss_of(views, torch.tensor(CHECK["inputs"]["labels3"]), temperature=0.1).item()
    assert loss == pytest.approx(CHECK["expected"]["three_views_L_out_T0.1"], rel=1e-9)


def test_check_value_of_identical_views() -> None:
    expected = CHECK["expected"]["all_same_label_all_identical_features_B4_V2"]
    for labels in (torch.zeros(4, dtype=torch.int64), torch.arange(4)):
        loss = loss_of(torch.ones(4, 2, 3, dtype=torch.float64), labels, temperature=0.1).item()
        assert loss == pytest.approx(expected, rel=1e-9)


def test_check_mask() -> None:
    found = positive(torch.tensor([3, 0, 2, 3]), torch.arange(8), 2)
    assert found.int().tolist() == CHECK["positive_mask_for_labels_3023_two_views_view_major"]


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_unique_labels_are_nt_xent(temperature: float) -> None:
    pair = [torch.tensor(NT_XENT["inputs"][name], dtype=torch.float64) for name in ("z1", "z2")]
    expected = NT_XENT["expected"]["loss_by_temperature"][str(temperature)]
    assert loss_of(torch.stack(pair, 1), torch.arange(4), temperature=temperature).item() == pytest.approx(expected)
    views = random_views()
    theirs = nt_xent(*unit(views).unbind(dim=1), temperature=temperature)
    for labels in (torch.arange(6), torch.full((6,), -1)):
        ours = loss_of(views, labels, temperature=temperature)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(gradient_of(ours, views), torch.autograd.grad(theirs, views, retain_graph=True)[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["all", "one"])
@pytest.mark.parametrize(("views", "empty"), [(1, "drop"), (1, "zero"), (2, "drop"), (4, "zero")])
def test_slow_twin(form: str, mode: str, views: int, empty: str) -> None:
    """Value by loops, gradient by central differences."""
    rows = random_views(views=views)
    options = {"temperature": 0.3, "form": form, "contrast_mode": mode, "empty_anchor": empty, "base_temperature": 0.2}
    expected = slow_twin(rows.detach().numpy(), LABELS.tolist(), 0.3, form, mode, empty, 0.2)
    assert loss_of(rows, LABELS, **options).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss_of(x, LABELS, **options), [rows], atol=1e-6)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_pytorch_metric_learning(views: int, temperature: float, dtype: torch.dtype) -> None:
    rows, labels = random_views(24, views, 16, dtype), torch.arange(24) % 5
    theirs = SupConLoss(temperature=temperature)(rows.flatten(0, 1), labels.repeat_interleave(views))
    ours = loss_of(rows, labels, temperature=temperature)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient_of(ours, rows), gradient_of(theirs, rows), atol=1e-6, rtol=1e-6)


def test_order_of_images_and_views_names_of_classes_and_length_change_nothing() -> None:
    rows = random_views(views=3)
    plain = loss_of(rows, LABELS, temperature=0.2)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    renamed = torch.tensor([0, 7, 0, -1, 7, -1])
    for moved, labels in ((rows[order], LABELS[order]), (rows.flip(1), LABELS), (3 * rows, renamed)):
        torch.testing.assert_close(loss_of(moved, labels, temperature=0.2), plain)


def test_inside_is_never_above_outside() -> None:
    rows = random_views(32, 2, 8)
    labels = torch.arange(32) % 4
    inside, outside = (loss_of(rows, labels, temperature=0.1, form=form) for form in ("inside", "outside"))
    assert inside < outside


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [1e-6, 0.1])
@pytest.mark.parametrize("rows", [torch.zeros(6, 2, 3), torch.ones(6, 2, 3), random_views(dtype=torch.float32)])
def test_finite_at_any_temperature_for_zero_identical_and_other_rows(
    form: str, temperature: float, rows: Tensor
) -> None:
    for views, labels in ((rows, LABELS), (rows[:, :1], LABELS), (rows, torch.zeros(6, dtype=torch.int64))):
        own = views.detach().clone().requires_grad_()
        loss = loss_of(own, labels, temperature=temperature, form=form)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient_of(loss, own)).all()


def test_anchors_without_a_positive_are_dropped_or_counted() -> None:
    """One view of each of six pictures, two of which have no partner; and of six that have none at all."""
    rows = unit(random_views(views=1))
    (dropped, four), (zero, six) = (
        sup_con(rows, LABELS, temperature=0.2, empty_anchor=empty) for empty in ("drop", "zero")
    )
    assert dropped == zero
    assert (four, six) == (4, 6)
    nothing, none = sup_con(rows, torch.arange(6), temperature=0.2)
    assert (nothing, none) == (0, 0)


def test_autocast_computes_in_float32() -> None:
    rows = random_views(16, 2, 8, torch.float32).detach()
    labels = torch.arange(16) % 3
    expected = loss_of(rows, labels, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(rows, labels, temperature=0.07)
        half = loss_of(rows.bfloat16(), labels, temperature=0.07)
    assert loss.dtype == half.dtype == torch.float32
    assert loss.item() == expected.item()


def one_of_two(rank: int, folder: str) -> None:
    """Of one view each, three anchors of the first rank have a positive, and one of the second."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    found = []
    for count in (1, 3):
        own = unit(random_views(views=count).detach()[3 * rank : 3 * rank + 3] @ weights.T)
        labels = distributed.gather(LABELS[3 * rank : 3 * rank + 3])
        parts = sup_con(own, labels, temperature=0.2, candidates=distributed.gather(own), offset=3 * rank)
        loss = distributed.mean(*parts)
        found += [loss.detach().view(1), torch.autograd.grad(loss, weights)[0].flatten()]
    both = torch.cat(found)
    dist.all_reduce(both)
    if rank == 0:
        torch.save(both / 2, f"{folder}/mean.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(one_of_two, (str(tmp_path),), nprocs=2, start_method="forkserver")
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    expected = []
    for count in (1, 3):
        loss = loss_of(random_views(views=count).detach() @ weights.T, LABELS, temperature=0.2)
        expected += [loss.detach().view(1), torch.autograd.grad(loss, weights)[0].flatten()]
    torch.testing.assert_close(torch.load(tmp_path / "mean.pt"), torch.cat(expected))
