"""Decoupled contrastive losses: check values, the identity with NT-Xent, a slow twin, lightly."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import pytest
import torch

from selfsight.losses.decoupled import decoupled, weights
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["dcl"]
INPUTS, EXPECTED = CHECK["inputs"], CHECK["expected"]
FIRST, SECOND = (unit(torch.tensor(INPUTS[name], dtype=torch.float64)) for name in ("z1", "z2"))


def test_check_values() -> None:
    assert decoupled(FIRST, SECOND, temperature=INPUTS["T"]).item() == pytest.approx(EXPECTED["dcl_T0.1"], rel=1e-9)
    weighted = decoupled(FIRST, SECOND, temperature=INPUTS["T"], sigma=INPUTS["sigma"])
    assert weighted.item() == pytest.approx(EXPECTED["dclw_T0.1_sigma0.5"], rel=1e-9)
    found = weights(FIRST, SECOND, INPUTS["sigma"])
    assert found.tolist() == pytest.approx(EXPECTED["dclw_weights"], rel=1e-9)
    assert found.mean().item() == pytest.approx(EXPECTED["mean_weight"])


def each(loss: object) -> list[float]:
    """Per anchor: one rank's anchor against all candidates."""
    pools = {"candidates": (FIRST, SECOND), "temperature": 0.3}
    rows = [(FIRST[n : n + 1], SECOND[n : n + 1], n) for n in range(len(FIRST))]
    return [loss(a, b, offset=n, **pools).item() for a, b, n in rows]  # type: ignore[operator]


def test_identity_with_nt_xent() -> None:
    """exp(NT-Xent) = 1 + exp(DCL) for each anchor; here in the mean of a picture's two, whose logits are as given."""
    same = torch.eye(5, dtype=torch.float64)
    contrast, alone = nt_xent(same, same, temperature=0.3).item(), decoupled(same, same, temperature=0.3).item()
    assert exp(contrast) == pytest.approx(1 + exp(alone), rel=1e-9)
    assert all(a > b for a, b in zip(each(nt_xent), each(decoupled), strict=True))


def test_slow_twin() -> None:
    rows = torch.cat([FIRST, SECOND]).tolist()
    count, total = len(FIRST), 0.0
    for i, anchor in enumerate(rows):
        cosines = [sum(a * b for a, b in zip(anchor, other, strict=True)) / 0.2 for other in rows]
        partner = (i + count) % (2 * count)
        total += log(sum(exp(s) for k, s in enumerate(cosines) if k not in (i, partner))) - cosines[partner]
    assert decoupled(FIRST, SECOND, temperature=0.2).item() == pytest.approx(total / (2 * count), rel=1e-12)


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("sigma", [None, 0.5])
def test_agrees_with_lightly(monkeypatch: pytest.MonkeyPatch, sigma: float | None) -> None:
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    from lightly.loss import DCLLoss, DCLWLoss

    pair = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = (DCLWLoss(temperature=0.1, sigma=0.5) if sigma else DCLLoss(temperature=0.1))(*pair)
    ours = decoupled(*unit(pair), temperature=0.1, sigma=sigma)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
