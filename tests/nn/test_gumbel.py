"""Gumbel noise: the distribution, and each sample's from its own key."""

from __future__ import annotations

from math import pi

import pytest
import torch

from selfsight.nn.gumbel import gumbel


def test_mean_and_variance() -> None:
    noise = gumbel(torch.arange(4), 100, 100)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.var().item() == pytest.approx(pi**2 / 6, abs=0.05)
    assert torch.isfinite(noise).all()


def test_a_sample_keeps_its_noise_in_every_company() -> None:
    state = torch.get_rng_state()
    together = gumbel(torch.tensor([3, 2**62, 7]), 5, 6)
    assert torch.equal(gumbel(torch.tensor([2**62]), 5, 6)[0], together[1])
    assert not torch.equal(together[0], together[2])
    assert torch.equal(state, torch.get_rng_state())


def test_the_largest_of_noisy_logits_is_a_draw_of_their_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0])
    drawn = (logits + gumbel(torch.arange(1), 20_000, 3)[0]).argmax(dim=1)
    torch.testing.assert_close(torch.bincount(drawn) / 20_000, logits.softmax(dim=0), atol=0.02, rtol=0)
