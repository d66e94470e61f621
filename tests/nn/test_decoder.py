"""The decoder: every place sees itself and its neighbours, no others."""

from __future__ import annotations

import torch

from selfsight.nn.decoder import Decoder


def test_each_place_sees_its_eight_neighbours() -> None:
    decoder = Decoder(5, 7, (4, 6))
    vectors = torch.randn(2, 24, 5, requires_grad=True)
    made = decoder(vectors)
    assert made.shape == (2, 24, 7)
    made[0, 1 * 6 + 2].sum().backward()  # second row, third column
    seen = vectors.grad[0].abs().sum(dim=1).view(4, 6) > 0
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[0:3, 1:4] = True
    assert seen.equal(expected)
    assert not vectors.grad[1].any()
