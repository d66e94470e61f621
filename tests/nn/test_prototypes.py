"""Prototypes are directions: cosines come out, whatever the lengths."""

from __future__ import annotations

import torch

from selfsight.nn.crops import projected
from selfsight.nn.prototypes import Prototypes


def test_scores_are_cosines() -> None:
    torch.manual_seed(0)
    layer, rows = Prototypes(8, 5), torch.randn(3, 8)
    expected = torch.cosine_similarity(rows[:, None], layer.weight[None], dim=-1)
    torch.testing.assert_close(layer(rows), expected)
    with torch.no_grad():
        layer.weight *= torch.arange(1, 6)[:, None]
    torch.testing.assert_close(layer(rows * 7), expected)
    assert layer(rows.bfloat16()).dtype == torch.float32


def test_views_of_two_sizes_keep_their_order() -> None:
    class Mean(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.float().mean(dim=(1, 2))

    batch = {"views": torch.randint(0, 256, (3, 2, 8, 8, 3)), "crops": torch.randint(0, 256, (3, 4, 4, 4, 3))}
    found = projected(Mean(), torch.nn.Identity(), batch)
    expected = torch.cat([batch[name].float().mean(dim=(2, 3)) for name in ("views", "crops")], dim=1)
    torch.testing.assert_close(found, expected)
    assert projected(Mean(), torch.nn.Identity(), {"views": batch["views"]}).shape == (3, 2, 3)
