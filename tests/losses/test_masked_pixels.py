"""The pixels of hidden patches: the published check values, a slow twin, flat patches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from selfsight.losses.masked_pixels import masked_pixels, standardised
from selfsight.nn.patches import at, patchify
from selfsight.views.masks import Scattered

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["mae"]


def test_check_values() -> None:
    rows = patchify(torch.arange(48, dtype=torch.float64).reshape(1, 3, 4, 4), CHECK["inputs"]["patch"])
    known = CHECK["expected"]
    assert rows[0, 0].tolist() == known["patch0"]
    assert rows[0, 3].tolist() == known["patch3"]
    told = torch.tensor(CHECK["inputs"]["pred"], dtype=torch.float64)
    places = torch.tensor(CHECK["inputs"]["mask"])[0].nonzero().T
    asked, true = at(told, places), at(rows, places)
    assert masked_pixels(asked, standardised(true)).item() == pytest.approx(known["loss_norm_pix"], rel=1e-9)
    assert masked_pixels(asked, true).item() == pytest.approx(known["loss_raw"], rel=1e-9)


@pytest.mark.parametrize("named", ["L=196,r=0.75", "L=64,r=0.75", "L=196,r=0.6"])
def test_how_many_are_hidden(named: str) -> None:
    length, share = (float(part.split("=")[1]) for part in named.split(","))
    side = round(length**0.5)
    count, known = Scattered.over((side, side), share).count, CHECK["counts"][named]
    assert {"masked": count, "keep": side**2 - count} == known


def test_slow_twin_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    told, rows = (torch.randn(2, 3, 12, dtype=torch.float64, generator=generator) for _ in range(2))
    total = 0.0
    for b in range(2):
        for m in range(3):
            patch = rows[b, m].tolist()
            mean = sum(patch) / 12
            deviation = (sum((x - mean) ** 2 for x in patch) / 11 + 1e-6) ** 0.5
            total += sum((t - (x - mean) / deviation) ** 2 for t, x in zip(told[b, m].tolist(), patch, strict=True))
    assert masked_pixels(told, standardised(rows)).item() == pytest.approx(total / 72, rel=1e-12)
    assert torch.autograd.gradcheck(lambda t: masked_pixels(t, standardised(rows)), [told.requires_grad_()], atol=1e-6)


def test_a_patch_of_one_colour_is_all_zeros() -> None:
    assert standardised(torch.full((1, 12), 0.7)).abs().max() < 1e-3
    assert standardised(torch.ones(1, 12, dtype=torch.bfloat16)).dtype == torch.float32
