"""Vector difference and vector sum: check values, a slow twin in plain loops, gradients, and what changes nothing."""

from __future__ import annotations

import json
from itertools import combinations
from math import expm1
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.boxes import answers
from selfsight.losses.exponential import REDUCTIONS, exponential
from selfsight.losses.vector_difference import vector_difference
from selfsight.losses.vector_sum import vector_sum

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["vdvs"]
EXPECTED = CHECK["expected"]


def check_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Picture (1, P), crops (1, K, P), IoUs, covered share."""
    inputs = CHECK["inputs"]
    side = inputs["crop_size"]
    boxes = torch.tensor([[[*corner, side, side] for corner in inputs["top_left"]]], dtype=torch.float64)
    whole = torch.tensor([inputs["image_embedding"]], dtype=torch.float64)
    crops = torch.tensor([inputs["crop_embeddings"]], dtype=torch.float64)
    return whole, crops, *answers(boxes, inputs["image_size"])


def random_case(
    batch: int = 3, count: int = 4, width: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(batch, width, dtype=torch.float64, generator=generator)
    crops = torch.randn(batch, count, width, dtype=torch.float64, generator=generator)
    overlap = torch.rand(batch, count * (count - 1) // 2, dtype=torch.float64, generator=generator)
    covered = torch.rand(batch, dtype=torch.float64, generator=generator)
    return tuple(tensor.to(dtype) for tensor in (whole, crops, overlap, covered))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_check_values(reduction: str) -> None:
    whole, crops, overlap, covered = check_case()
    first, second = vector_difference(crops, overlap, reduction), vector_sum(whole, crops, covered, reduction)
    assert first.dtype == second.dtype == torch.float64
    assert first.item() == pytest.approx(EXPECTED["loss1"][reduction], rel=1e-9)
    assert second.item() == pytest.approx(EXPECTED["loss2"][reduction], rel=1e-9)
    swapped = torch.from_numpy(np.array(EXPECTED["pair_cosine"]) - np.array(EXPECTED["pair_iou"]))
    known = EXPECTED["loss1"]["literal_swapped_arguments" if reduction == "literal" else reduction]
    assert exponential(swapped, reduction).item() == pytest.approx(known, rel=1e-9)


def test_check_cosines() -> None:
    whole, crops, _, _ = (tensor[0].numpy() for tensor in check_case())
    found = [cosine(a, b) for a, b in combinations(crops, 2)]
    assert found == pytest.approx(EXPECTED["pair_cosine"], rel=1e-9)
    assert cosine(whole, crops.sum(axis=0)) == pytest.approx(EXPECTED["image_vs_sum_cosine"], rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_slow_twin(count: int) -> None:
    whole, crops, overlap, covered = random_case(count=count)
    pairs, sums, units = [], [], []
    for picture in range(len(whole)):
        rows = crops[picture].numpy()
        for wanted, (a, b) in zip(overlap[picture].tolist(), combinations(rows, 2), strict=True):
            pairs.append(expm1(4 * abs(wanted - cosine(a, b))))
        lengths = [sum(x * x for x in row) ** 0.5 for row in rows]
        target = covered[picture].item()
        sums.append(expm1(4 * abs(target - cosine(whole[picture].numpy(), sum(rows)))))
        shortened = sum(row / length for row, length in zip(rows, lengths, strict=True))
        units.append(expm1(4 * abs(target - cosine(whole[picture].numpy(), shortened))))
    assert vector_difference(crops, overlap).item() == pytest.approx(np.mean(pairs), rel=1e-12)
    assert vector_sum(whole, crops, covered).item() == pytest.approx(np.mean(sums), rel=1e-12)
    of_units = vector_sum(whole, crops, covered, normalize_before_sum=True)
    assert of_units.item() == pytest.approx(np.mean(units), rel=1e-12)


def test_lengths() -> None:
    """Scaling everything changes nothing; scaling one crop changes the sum only, and not that of unit vectors."""
    whole, crops, overlap, covered = random_case()
    longer = crops * torch.tensor([1.0, 5.0, 1.0, 1.0], dtype=crops.dtype)[:, None]
    assert vector_difference(3 * crops, overlap).item() == pytest.approx(vector_difference(crops, overlap).item())
    assert vector_difference(longer, overlap).item() == pytest.approx(vector_difference(crops, overlap).item())
    before = vector_sum(whole, crops, covered).item()
    assert vector_sum(3 * whole, 3 * crops, covered).item() == pytest.approx(before)
    assert vector_sum(whole, longer, covered).item() != pytest.approx(before)
    units = [vector_sum(whole, one, covered, normalize_before_sum=True).item() for one in (crops, longer)]
    assert units[0] == pytest.approx(units[1])


def test_order() -> None:
    """Permuting pictures changes nothing; permuting crops permutes pairs: three in reverse reverse (01, 02, 12)."""
    whole, crops, overlap, covered = random_case(count=3)
    order = torch.tensor([2, 0, 1])
    pairs, total = vector_difference(crops, overlap).item(), vector_sum(whole, crops, covered).item()
    assert vector_difference(crops[order], overlap[order]).item() == pytest.approx(pairs)
    assert vector_sum(whole[order], crops[order], covered[order]).item() == pytest.approx(total)
    assert vector_difference(crops.flip(1), overlap.flip(1)).item() == pytest.approx(pairs)
    assert vector_sum(whole, crops.flip(1), covered).item() == pytest.approx(total)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients(reduction: str, normalize: bool) -> None:
    whole, crops, overlap, covered = random_case()
    asked = (whole.requires_grad_(), crops.requires_grad_())

    def both(whole: Tensor, crops: Tensor) -> Tensor:
        total = vector_sum(whole, crops, covered, reduction, normalize_before_sum=normalize)
        return vector_difference(crops, overlap, reduction) + total

    assert torch.autograd.gradcheck(both, asked)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_embeddings_are_finite(value: float) -> None:
    whole, crops, overlap, covered = random_case(dtype=torch.float32)
    whole, crops = (torch.full_like(one, value, requires_grad=True) for one in (whole, crops))
    loss = vector_difference(crops, overlap) + vector_sum(whole, crops, covered)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(crops.grad).all()
    assert torch.isfinite(whole.grad).all()


def test_float32_under_autocast() -> None:
    whole, crops, overlap, covered = random_case(dtype=torch.float32)
    plain = vector_difference(crops, overlap) + vector_sum(whole, crops, covered)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = vector_difference(crops, overlap) + vector_sum(whole, crops, covered)
    assert mixed.dtype == torch.float32
    assert mixed.item() == plain.item()
