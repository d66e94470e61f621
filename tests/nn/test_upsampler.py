"""The upsampler: its grid, where each position goes, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from selfsight.errors import RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.upsampler import Upsampler


@pytest.mark.parametrize(
    ("name", "size", "resolution", "grid"),
    [
        ("test_resnet", 32, 8, 8),  # stride 8
        ("test_resnet", 64, 8, 8),  # 2 x 2
        ("test_resnet", 96, 12, 12),  # 3 x 3
        ("test_resnet", 64, 9, 16),  # at least
        ("test_vit", 64, 8, 8),  # patches of 8 px: no doubling
        ("test_vit", 64, 4, 8),
    ],
)
def test_the_grid_is_doubled_until_it_is_fine_enough(name: str, size: int, resolution: int, grid: int) -> None:
    encoder = Encoder(name, size=size)
    decoder = Upsampler(encoder, hidden=12, out=5, resolution=resolution)
    assert decoder.grid == (grid, grid)
    made = decoder(encoder.patches(torch.zeros(2, size, size, 3, dtype=torch.uint8)))
    assert made.shape == (2, 5, grid, grid)


def test_positions_stay_where_they_are() -> None:
    encoder = Encoder("test_vit", size=32)  # 8 x 8 patches
    patches = torch.zeros(1, 64, encoder.maps)
    patches[0, 19] = 1.0  # third row, fourth column
    for resolution, expected in ((8, (2, 2, 3, 3)), (16, (3, 6, 5, 8))):  # a 3x3 convolution reaches one further
        decoder = Upsampler(encoder, hidden=4, out=3, resolution=resolution).eval()
        changed = (decoder(patches) - decoder(torch.zeros_like(patches)))[0].abs().sum(dim=0).nonzero()
        rows, columns = changed.unbind(dim=1)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == expected


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(RecipeError, match="finer than a view of 32 px"):
        Upsampler(Encoder("test_resnet", size=32), hidden=4, out=3, resolution=64)
    with pytest.raises(RecipeError, match="layers behind its map"):
        Upsampler(Encoder("mobilenetv3_small_050", size=64), hidden=4, out=3, resolution=8)
