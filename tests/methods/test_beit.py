"""BEiT: the loss in plain loops over hidden places, what is hidden stays hidden, tokenizers of every kind."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, prepared, terms_of

from selfsight.errors import RecipeError
from selfsight.methods.base import Facts
from selfsight.methods.beit import TOKENIZERS, BEiT
from selfsight.nn.encoder import Encoder
from selfsight.views.masks import Blocks


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_loss_equals_its_slow_twin_with_every_tokenizer(tokenizer: str) -> None:
    method = made("beit", tokenizer=tokenizer, codes=16)
    said: list[str] = []
    method.prepare(prepared(pictures(), said))
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    terms = terms_of(method, seen, batch)
    vectors = method.encoder.patches(batch["views"][:, 0], hide=batch["hidden"].bool(), token=method.names.token)
    logits = method.names.tell(vectors).detach().double().numpy()
    codes = method.coder.codes(method.encoder.normalised(batch["views"][:, 0]))
    assert codes.shape == (3, 64)
    lost, right, guessed, count = 0.0, 0, 0.0, 0
    for b, place in np.ndindex(3, 64):
        if batch["hidden"][b, place]:
            row, code = logits[b, place], int(codes[b, place])
            lost -= row[code] - np.log(np.exp(row).sum())
            right, count = right + (row.argmax() == code), count + 1
            guessed -= log(method.coder.shares[code])
    assert 0 < count < 3 * 26 + 1
    assert terms["loss"] == pytest.approx(lost / count, rel=1e-5)
    assert terms["accuracy"] == pytest.approx(right / count)
    assert terms["by_frequency"] == pytest.approx(guessed / count, rel=1e-5)
    assert 1 <= terms["perplexity"] <= 16
    assert len(said) == 1
    assert "by their frequency alone" in said[0]
    assert "not comparable" in said[0]
    assert method.chance(3) == pytest.approx(float(-(method.coder.shares * method.coder.shares.log()).sum()))


def test_hidden_pixels_have_no_influence_but_on_their_own_code() -> None:
    method = made("beit", tokenizer="kmeans")
    method.prepare(prepared(pictures()))
    batch = batch_of(method, pictures(2))
    before = everything(method, batch)
    place = int(batch["hidden"][0].nonzero()[0])
    top, left = 4 * (place // 8), 4 * (place % 8)
    batch["views"][0, 0, top : top + 4, left : left + 4] ^= 255
    after = everything(method, batch)
    assert torch.equal(before["logits"], after["logits"])
    changed = (before["codes"] != after["codes"]).nonzero().tolist()
    assert changed in ([], [[0, place]])


def test_the_tokenizer_is_frozen_and_in_the_checkpoint() -> None:
    method = made("beit")
    assert not any(p.requires_grad for p in method.coder.parameters())
    assert not any(module.training for module in method.coder.modules())
    assert any(name.startswith("coder.encoder.") for name in method.state_dict())
    assert method.first({"tokenizer": "kmeans"}) is None
    assert method.first({"tokenizer": "vqkd"}) == "vqkd"


def test_masks_keep_to_the_share() -> None:
    """26 of 64 patches, as the setting for small pictures has it; with `exact` never fewer."""
    loose, exact = made("beit", tokenizer="kmeans"), made("beit", tokenizer="kmeans", exact=True)
    hidden = batch_of(loose, pictures(16))["hidden"].sum(dim=1)
    assert loose.mask.count == 26
    assert 1 <= hidden.min() <= hidden.max() <= 26
    assert (batch_of(exact, pictures(16))["hidden"].sum(dim=1) == 26).all()
    assert made("beit", tokenizer="kmeans", share=0.25).mask.count == 16


def test_large_views_have_as_many_hidden_as_the_released_code() -> None:
    found = BEiT.resolve({}, Facts(10_000, 256, 224, 3, 0))
    assert Blocks.over((14, 14), found["share"][0], found["block"][0]).count == 75


def test_tokenizers_that_collapsed_are_told() -> None:
    method = made("beit", tokenizer="dvae", codes=64)
    said: list[str] = []
    method.prepare(prepared([np.zeros((40, 40, 3), np.uint8)] * 16, said))
    assert "uses 1 of its 64 codes in effect" in said[0]
    assert "--set tokenizer=kmeans" in said[0]


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint8)])
def test_any_picture_will_do(channels: int, dtype: type) -> None:
    method = made("beit", tokenizer="kmeans", channels=channels, high=float(np.iinfo(dtype).max))
    some = pictures(16, channels, dtype)
    method.prepare(prepared(some))
    batch = batch_of(method, some)
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])
    shown = method.outputs(batch)["hidden"]
    assert (shown.shape, shown.dtype) == ((16, 32, 32, channels), dtype)


def test_chance_is_the_loss_of_even_logits_and_floor_that_of_certainty() -> None:
    method = made("beit", tokenizer="kmeans", codes=16)
    batch = batch_of(method, pictures(4))
    codes = torch.randint(0, 16, (4, 64), generator=torch.Generator().manual_seed(0))
    even = {"logits": torch.zeros(4, 26, 16), "codes": codes}
    assert terms_of(method, even, batch)["loss"] == pytest.approx(method.chance(4))
    places = batch["hidden"].argsort(dim=1, descending=True, stable=True)[:, :26]
    sure = {"logits": 100.0 * torch.nn.functional.one_hot(codes.gather(1, places), 16), "codes": codes}
    assert terms_of(method, sure, batch)["loss"] == pytest.approx(method.floor(4), abs=1e-6)


def test_the_rate_does_not_fall_below_the_least() -> None:
    small, large = BEiT.defaults(32), BEiT.defaults(224)
    assert small.rate(128) == (5e-4, "published 0.0015 x 128 / 2048, but at least 0.0005")
    assert small.rate(2048)[0] == large.rate(2048)[0] == 1.5e-3
    assert large.rate(256)[0] == pytest.approx(1.5e-3 / 8)


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({"tokenizer": "dvea"}, "no tokenizer 'dvea'.*Did you mean 'dvae'"),
        ({"teacher": "dino"}, "add --set tokenizer=vqkd"),
        ({"tokenizer": "kmeans", "block": 27}, "27 patches, and at most 26 may be hidden; use --set block=26"),
        ({"codes": 1000}, "16 pictures cannot fill 1000 codes; use --set codes=N"),
        ({"share": 0.005}, "too few to hide some"),
    ],
)
def test_impossible_settings_are_refused(own: dict[str, object], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        made("beit", **own)


def test_what_is_missing_is_named() -> None:
    encoder = Encoder("test_vit", size=32)
    with pytest.raises(RecipeError, match=r"BEiT\.resolve"):
        BEiT(encoder)
    with pytest.raises(RecipeError, match="pass it as `before`"):
        BEiT(encoder, codes=16, block=4, share=0.4)
    with pytest.raises(RecipeError, match="has 64 codes and 16 are to be named"):
        BEiT(encoder, codes=16, block=4, share=0.4, before=made("vq", codes=64))
    with pytest.raises(RecipeError, match="--encoder vit_tiny_patch16_224"):
        BEiT(Encoder("test_resnet", size=32), codes=16, block=4, share=0.4, tokenizer="kmeans")
