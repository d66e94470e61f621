"""Numbers are told of hidden patches only, from the others."""

from __future__ import annotations

import pytest
import torch

from selfsight.errors import RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.hidden import HiddenPatches, hidden_places


def test_places_are_those_that_are_hidden_and_then_others() -> None:
    hidden = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 0, 1]])
    places, truly = hidden_places(hidden, 3)
    assert places.tolist() == [[1, 3, 0], [4, 0, 1]]
    assert truly.tolist() == [[True, True, False], [True, False, False]]


def test_told_is_the_layer_at_hidden_places() -> None:
    encoder = Encoder("test_vit", size=32).eval()
    part = HiddenPatches(encoder, 9)
    views = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(2, 64, dtype=torch.int64)
    hidden[0, [3, 60]], hidden[1, [0, 7]] = 1, 1
    told = part(encoder, views, hidden, 2)
    everywhere = part.tell(encoder.patches(views, hide=hidden.bool(), token=part.token))
    torch.testing.assert_close(told, torch.stack([everywhere[0, [3, 60]], everywhere[1, [0, 7]]]))
    views[0, :4, 12:16] = 0  # the pixels of patch 3
    assert torch.equal(part(encoder, views, hidden, 2), told)


def test_networks_that_cannot_hide_are_refused_at_once() -> None:
    with pytest.raises(RecipeError, match="--encoder vit_tiny_patch16_224"):
        HiddenPatches(Encoder("test_resnet", size=32), 9)
