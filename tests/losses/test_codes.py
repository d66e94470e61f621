"""What is lost over codes: check values, slow twins in plain loops, gradients, precision."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.losses.code_usage import divergence_from_even, entropy
from selfsight.losses.commitment import commitment
from selfsight.losses.masked_codes import masked_cross_entropy
from selfsight.losses.reconstruction import error_and_power

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["beit_tokenizers"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_check_values() -> None:
    logits = torch.tensor(CHECK["inputs"]["logits_masked"], dtype=torch.float64)[None]
    codes = torch.tensor(CHECK["inputs"]["codes_masked"])[None]
    total = masked_cross_entropy(logits, codes, torch.ones_like(codes, dtype=torch.bool))
    assert total.item() / 3 == pytest.approx(CHECK["expected"]["masked_ce"], rel=1e-9)
    even = masked_cross_entropy(torch.zeros(1, 1, 8192), torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1).bool())
    assert even.item() == pytest.approx(CHECK["expected"]["chance_ce_8192"], rel=1e-6)
    known = CHECK["dvae"]["KL(q||uniform) = log K - H(q)"]
    shares = torch.tensor(known["q"], dtype=torch.float64)
    assert divergence_from_even(shares.log()).item() == pytest.approx(known["value"], rel=1e-9)
    assert divergence_from_even(torch.tensor([1e3, 0.0, 0.0])).item() == pytest.approx(log(known["K"])), "one-hot"
    assert divergence_from_even(torch.zeros(3)).item() == CHECK["dvae"]["kl at uniform"]


def test_masked_cross_entropy_equals_its_slow_twin() -> None:
    logits, codes = drawn(3, 4, 5), torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(1))
    masked = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]).bool()
    total = 0.0
    for b in range(3):
        for m in range(4):
            if masked[b, m]:
                row = logits[b, m].tolist()
                total -= row[codes[b, m]] - log(sum(exp(value) for value in row))
    assert masked_cross_entropy(logits, codes, masked).item() == pytest.approx(total, rel=1e-12)


def test_what_is_not_masked_has_no_say() -> None:
    logits, codes = drawn(2, 3, 4).requires_grad_(), torch.zeros(2, 3, dtype=torch.long)
    masked = torch.tensor([[True, False, False], [False, True, True]])
    masked_cross_entropy(logits, codes, masked).backward()
    assert (logits.grad.abs().sum(dim=2) > 0).equal(masked)


def test_divergence_equals_its_slow_twin() -> None:
    logits = drawn(4, 6)
    for row, found in zip(logits.numpy(), divergence_from_even(logits).numpy(), strict=True):
        q = np.exp(row) / np.exp(row).sum()
        assert found == pytest.approx(sum(p * log(p * 6) for p in q), rel=1e-12)


def test_entropy_of_counts() -> None:
    assert entropy(torch.tensor([3.0, 3.0, 3.0, 3.0])).item() == pytest.approx(log(4))
    assert entropy(torch.tensor([[5.0, 0.0], [0.0, 0.0], [1.0, 3.0]])).tolist() == pytest.approx(
        [0.0, 0.0, -0.25 * log(0.25) - 0.75 * log(0.75)]
    )


def test_commitment_moves_only_the_encoder() -> None:
    vectors, codes = drawn(2, 3).requires_grad_(), drawn(2, 3, seed=1).requires_grad_()
    found = commitment(vectors, codes)
    assert found.tolist() == pytest.approx(((vectors - codes) ** 2).sum(dim=1).div(3).tolist())
    found.sum().backward()
    assert codes.grad is None
    torch.testing.assert_close(vectors.grad, 2 / 3 * (vectors - codes).detach())


def test_error_and_power() -> None:
    """Pictures far from 0, each channel at another place: the mean colour explains nothing, 0 even less."""
    pixels = drawn(2, 4, 2, 3) + torch.tensor([1.0, -2.0, 3.0])
    mean, rows = pixels.mean(dim=(0, 1, 2)), pixels.flatten(2)
    error, power = error_and_power(mean.expand_as(pixels).flatten(2), rows, mean)
    assert (error / power).item() == pytest.approx(1, rel=1e-12)
    assert torch.div(*error_and_power(torch.zeros_like(rows), rows, mean)) > 3
    assert error_and_power(rows, rows, mean)[0] == 0
    plain = torch.ones(1, 2, 3)
    assert torch.isfinite(torch.div(*error_and_power(plain, plain, torch.ones(3))))


@pytest.mark.parametrize(
    "lost",
    [
        lambda x: masked_cross_entropy(x, torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3).bool()),
        lambda x: divergence_from_even(x).sum(),
        lambda x: commitment(x, torch.ones_like(x)).sum(),
        lambda x: torch.div(*error_and_power(x, torch.ones_like(x), torch.zeros(2))),
    ],
    ids=["masked codes", "divergence", "commitment", "reconstruction"],
)
def test_gradients_and_precision(lost: object) -> None:
    assert torch.autograd.gradcheck(lost, drawn(2, 3, 4).requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lost(drawn(2, 3, 4).bfloat16()).dtype == torch.float32
    for odd in (torch.zeros(2, 3, 4), torch.ones(2, 3, 4)):
        assert torch.isfinite(lost(odd))
