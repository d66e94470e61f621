"""MAE: the loss in plain loops, nothing of what is hidden is seen, exact counts, what it draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, terms_of

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.methods.base import Facts
from selfsight.methods.mae import MAE
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import patchify

DECODER = {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 3}


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("mae") is MAE
    assert set(methods.settings(MAE)) == {*DECODER, "share", "norm_pixels", "augmentation"}


@pytest.mark.parametrize(("size", "decoder"), [(64, (192, 4, 3)), (224, (512, 8, 16))])
def test_the_size_decides_the_decoder(size: int, decoder: tuple[int, int, int]) -> None:
    found = MAE.resolve({}, Facts(count=10**6, batch=128, size=size, channels=3, classes=0))
    assert tuple(found[name][0] for name in DECODER) == decoder
    assert MAE.defaults(224).rate(256)[0] == pytest.approx(1.5e-4)
    assert MAE.defaults(32).rate(4096)[0] == pytest.approx(2e-4 * 16)


@pytest.mark.parametrize("norm", [True, False])
def test_loss_equals_its_slow_twin(norm: bool) -> None:
    method = made("mae", norm_pixels=norm, **DECODER)
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    rows = patchify(method.encoder.normalised(batch["views"][:, 0]), 4).double().numpy()
    total, count = 0.0, 0
    for b in range(3):
        hidden = np.flatnonzero(batch["hidden"][b])
        assert len(hidden) == 48
        for told, place in zip(seen["told"][b].detach().numpy(), hidden, strict=True):
            true = rows[b, place]
            if norm:
                true = (true - true.mean()) / np.sqrt(true.var(ddof=1) + 1e-6)
            total, count = total + ((told - true) ** 2).sum(), count + true.size
    assert terms_of(method, seen, batch) == {"loss": pytest.approx(total / count, rel=1e-5)}


def test_hidden_pixels_are_not_seen() -> None:
    method = made("mae", **DECODER)
    batch = batch_of(method, pictures(2))
    before = everything(method, batch)
    place = int(batch["hidden"][0].nonzero()[3])
    top, left = 4 * (place // 8), 4 * (place % 8)
    batch["views"][0, 0, top : top + 4, left : left + 4, 0] ^= 85
    after = everything(method, batch)
    assert torch.equal(before["told"], after["told"])
    assert (before["pixels"] != after["pixels"]).any(dim=2).nonzero().tolist() == [[0, 3]]


def test_each_told_patch_is_asked_for_at_its_own_place() -> None:
    """The vectors of what is left, in any order, with their places: the decoder tells the same."""
    method = made("mae", **DECODER).eval()
    batch = batch_of(method, pictures(2))
    seen = torch.stack([(1 - row).nonzero()[:, 0].flip(0) for row in batch["hidden"]])
    asked = torch.stack([row.nonzero()[:, 0] for row in batch["hidden"]])
    vectors = method.encoder.patches(batch["views"][:, 0], keep=seen)
    torch.testing.assert_close(
        method.decoder(vectors, seen, asked), method.project(batch)["told"], rtol=1e-4, atol=1e-5
    )


def test_telling_the_mean_of_each_patch_is_chance() -> None:
    method = made("mae", **DECODER)
    noise = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(4)]
    batch = batch_of(method, noise)
    pixels = method.targets(batch)["pixels"]
    assert terms_of(method, {"told": pixels * 0, "pixels": pixels}, batch)["loss"] == pytest.approx(
        method.chance(4), rel=1e-3
    )
    assert terms_of(method, {"told": pixels, "pixels": pixels}, batch)["loss"] == method.floor(4) == 0
    assert made("mae", norm_pixels=False, **DECODER).chance(4) is None


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint8)])
def test_any_picture_will_do_and_what_is_told_is_drawn(channels: int, dtype: type) -> None:
    method = made("mae", channels=channels, high=float(np.iinfo(dtype).max), **DECODER)
    batch = batch_of(method, pictures(3, channels, dtype))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])
    shown = method.outputs(batch)
    assert {name: (array.shape, array.dtype) for name, array in shown.items()} == {
        name: ((3, 32, 32, channels), np.dtype(dtype)) for name in ("hidden", "told")
    }
    left = batch["hidden"].view(3, 8, 8).repeat_interleave(4, 1).repeat_interleave(4, 2).numpy() == 0
    apart = shown["told"].astype(float) - batch["views"][:, 0].numpy()
    assert np.abs(apart[left]).max() <= np.iinfo(dtype).max * 1e-5 + 1, "what was left is as it was"


@pytest.mark.parametrize(
    ("own", "sentence"),
    [({"share": 0.999}, "hides 64 of 64 patches"), ({"decoder_heads": 7}, "use multiples")],
)
def test_impossible_settings_are_refused(own: dict[str, object], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        made("mae", **{**DECODER, **own})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecipeError, match=r"MAE\.resolve"):
        MAE(Encoder("test_vit", size=32))
    with pytest.raises(RecipeError, match="--encoder vit_tiny_patch16_224"):
        MAE(Encoder("test_resnet", size=32), augmentation="crop-flip", **DECODER)
