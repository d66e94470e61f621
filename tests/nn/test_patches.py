"""Hidden and left-out patches: nothing changes when there are none, and what is hidden has no influence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from selfsight.errors import RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import patchify, pooled, unpatchify

TRANSFORMERS = ("test_vit", "test_vit2", "test_vit3", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")


def drawn(count: int = 3, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=TRANSFORMERS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder(request.param, size=32).eval()


@torch.no_grad()
def test_nothing_hidden_and_all_kept_is_the_plain_way(encoder: Encoder) -> None:
    plain = encoder.patches(drawn())
    token = torch.full((encoder.width,), 7.0)
    nothing = torch.zeros(plain.shape[:2], dtype=torch.bool)
    everything = torch.arange(plain.shape[1]).expand(3, -1)
    assert torch.equal(encoder.patches(drawn(), hide=nothing, token=token), plain)
    assert torch.equal(encoder.patches(drawn(), keep=everything), plain)
    assert torch.equal(encoder.patches(drawn(), keep=everything, hide=nothing, token=token), plain)


@torch.no_grad()
def test_what_is_hidden_or_left_out_has_no_influence(encoder: Encoder) -> None:
    height, width = encoder.grid(32)
    side = encoder.patch(32)
    assert (height * side, width * side) == (32, 32)
    images, changed = drawn(), drawn()
    changed[:, :, 2 * side - side : 2 * side, :side] += 5  # the first patch of the second row
    token = torch.randn(encoder.width, generator=torch.Generator().manual_seed(1))
    hide = torch.zeros(3, height * width, dtype=torch.bool)
    hide[:, width] = True
    assert torch.equal(*(encoder.patches(i, hide=hide, token=token) for i in (images, changed)))
    assert not torch.equal(*(encoder.patches(i, hide=~hide, token=token) for i in (images, changed)))
    assert not torch.equal(*(encoder.patches(images, hide=hide, token=t) for t in (token, 2 * token)))
    others = torch.arange(height * width)[~hide[0]].expand(3, -1)
    assert torch.equal(*(encoder.patches(i, keep=others) for i in (images, changed)))
    assert encoder.patches(images, keep=others).shape == (3, height * width - 1, encoder.width)


@torch.no_grad()
def test_patches_that_are_kept_stay_in_the_order_asked_for(encoder: Encoder) -> None:
    """Each carries its own position, so the order of the rows is only their order."""
    keep = torch.tensor([[3, 0, 2], [1, 2, 3], [0, 1, 2]])
    first = encoder.patches(drawn(), keep=keep)
    turned = encoder.patches(drawn(), keep=keep.flip(1))
    torch.testing.assert_close(turned.flip(1), first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "swin_tiny_patch4_window7_224", "eva02_tiny_patch14_224"])
def test_other_networks_name_one_that_can(name: str) -> None:
    encoder = Encoder(name, size=224)
    with pytest.raises(RecipeError, match=r"cannot be hidden.*--encoder vit_tiny_patch16_224"):
        encoder.patches(drawn(1, 224), hide=torch.zeros(1, 4, dtype=torch.bool), token=torch.zeros(encoder.width))


def test_a_transformer_on_top_of_a_convnet_has_seen_what_would_be_hidden() -> None:
    encoder = Encoder("vit_tiny_r_s16_p8_224", size=224)
    with pytest.raises(RecipeError, match="cannot be hidden"):
        encoder.must_hide()


@pytest.mark.parametrize(("size", "side", "channels"), [(32, 4, 3), (32, 16, 1), (89, 11, 3), (10, 4, 5)])
def test_patches_are_cut_and_put_together_again(size: int, side: int, channels: int) -> None:
    images = drawn(2, size, channels)
    rows = patchify(images, side)
    across = -(-size // side)
    padded = np.zeros((2, channels, across * side, across * side), np.float32)
    padded[:, :, :size, :size] = images
    for place in range(across * across):
        top, left = place // across * side, place % across * side
        square = padded[:, :, top : top + side, left : left + side]
        np.testing.assert_array_equal(rows[:, place], square.transpose(0, 2, 3, 1).reshape(2, -1))
    assert torch.equal(unpatchify(rows, side, size), images)
    encoder = Encoder("vit_tiny_patch16_224", size=size, channels=channels)
    if side == max(2, size // 8):
        assert encoder.grid(size) == (across, across)
        assert encoder.patch(size) == side


@pytest.mark.parametrize(
    ("name", "size", "grid", "side"), [("resnet18", 32, 4, 8), ("swin_tiny_patch4_window7_224", 224, 7, 32)]
)
def test_networks_of_other_kinds_have_square_cells_too(name: str, size: int, grid: int, side: int) -> None:
    encoder = Encoder(name, size=size)
    assert encoder.grid(size) == (grid, grid)
    assert encoder.patch(size) == side


def test_the_mean_of_the_patches_stands_for_the_picture_and_loads_again(tmp_path: Path) -> None:
    encoder = pooled(Encoder("test_vit", size=32)).eval()
    images = drawn()
    embedding = encoder(images)
    torch.testing.assert_close(embedding, encoder.patches(images).mean(dim=1))
    assert torch.equal(Encoder.load(encoder.save(tmp_path)).eval()(images), embedding)
    assert torch.equal(timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()(images), embedding)
    assert encoder.state_dict().keys() == Encoder("test_vit", size=32).state_dict().keys()
    convnet = Encoder("test_resnet", size=32)
    assert pooled(convnet).arguments == Encoder("test_resnet", size=32).arguments


def test_attention_behind_the_patches_gives_way_to_their_mean(tmp_path: Path) -> None:
    attending = Encoder("test_vit", size=32, arguments={**Encoder("test_vit", size=32).arguments, "global_pool": "map"})
    assert any("attn_pool" in name for name in attending.state_dict())
    encoder, images = pooled(attending).eval(), drawn()
    assert not any("attn_pool" in name for name in encoder.state_dict())
    torch.testing.assert_close(encoder(images), encoder.patches(images).mean(dim=1))
    assert torch.equal(Encoder.load(encoder.save(tmp_path)).eval()(images), encoder(images))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "deit_tiny_distilled_patch16_224", "cait_xxs24_224"])
def test_layers_behind_the_patches_that_would_stay_untrained_are_refused(name: str) -> None:
    arguments = {} if "mobilenet" in name else {"depth": 1, "img_size": 32}
    with pytest.raises(RecipeError, match="leaves untrained; use --encoder resnet18"):
        pooled(Encoder(name, size=32, arguments=arguments))
