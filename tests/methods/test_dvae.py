"""dVAE: the loss in plain loops, its schedules, noise that is keyed, pictures drawn again."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, terms_of

from selfsight.errors import RecipeError
from selfsight.methods.dvae import DVAE
from selfsight.nn.encoder import Encoder
from selfsight.nn.tokenizers import LearnedTokenizer, mean_colour


def test_loss_equals_its_slow_twin() -> None:
    method = made("dvae", codes=8, beta=0.5)
    method.progress = 0.05  # half of the ramp
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    terms = terms_of(method, seen, batch)
    pixels, drawn = (seen[name].detach().double().numpy() for name in ("pixels", "made"))
    mean = pixels.reshape(-1, 3).mean(axis=0)
    power = sum(((b - mean) ** 2).sum() for b in pixels.reshape(-1, 3))
    error = sum((a - b) ** 2 for a, b in zip(drawn.flat, pixels.flat, strict=True)) / power
    logits = method.logits(method.encoder.patches(batch["views"][:, 0])).detach().double()
    divergences = []
    for row in logits.flatten(0, 1).numpy():
        q = np.exp(row) / np.exp(row).sum()
        divergences.append(sum(p * log(p * 8) for p in q))
    assert terms["error"] == pytest.approx(error, rel=1e-5)
    assert terms["divergence"] == pytest.approx(np.mean(divergences), rel=1e-4)
    assert terms["loss"] == pytest.approx(error + 0.25 * np.mean(divergences), rel=1e-5)
    usage = np.bincount(logits.argmax(dim=-1).flatten(), minlength=8) / logits[..., 0].numel()
    assert terms["perplexity"] == pytest.approx(exp(-sum(p * log(p) for p in usage if p)), rel=1e-5)


def test_the_mixture_sharpens_over_the_first_half() -> None:
    """Spread of the mixture: at temperature 1 it is open, at 0.1 nearly one code."""
    method = made("dvae")
    batch = batch_of(method, pictures(4))
    mixtures: list[torch.Tensor] = []
    method.vectors.register_forward_pre_hook(lambda module, given: mixtures.append(given[0].detach()))
    for method.progress in (0.0, 0.25, 0.5, 1.0):
        method.project(batch)
    largest = [mixture.amax(dim=-1).mean().item() for mixture in mixtures]
    assert largest[0] < largest[1] < largest[2] == largest[3]
    assert largest[3] > 0.7
    torch.testing.assert_close(mixtures[0].sum(dim=-1), torch.ones(4, 64))


def test_noise_is_the_same_in_every_micro_batch_and_replay() -> None:
    method = made("dvae")
    batch = batch_of(method, pictures(6), position=40)
    whole = method.project(batch)["made"]
    assert torch.equal(whole, method.project(batch)["made"])
    part = {name: tensor[2:4] for name, tensor in batch.items()}
    torch.testing.assert_close(method.project(part)["made"], whole[2:4])
    other = {**batch, "key": batch["key"] + 1}
    assert not torch.equal(method.project(other)["made"], whole)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint8)])
def test_any_picture_will_do(channels: int, dtype: type) -> None:
    method = made("dvae", channels=channels, high=float(np.iinfo(dtype).max))
    batch = batch_of(method, pictures(4, channels, dtype))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])
    shown = method.outputs(batch)["drawn again"]
    assert shown.shape == (4, 32, 32, channels)
    assert shown.dtype == dtype


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method = made("dvae", codes=16)
    method.progress = 1.0
    pixels, codes = torch.randn(4, 64, 48) + 2, torch.zeros(4, 64, dtype=torch.int64)
    colour = mean_colour(pixels, 3).repeat(16).expand_as(pixels)
    idle = {"made": colour, "pixels": pixels, "divergence": torch.zeros(4, 64), "codes": codes}
    assert terms_of(method, idle, {})["loss"] == pytest.approx(method.chance(4))
    sure = {"made": pixels, "pixels": pixels, "divergence": torch.full((4, 64), log(16)), "codes": codes}
    assert terms_of(method, sure, {})["loss"] == pytest.approx(method.floor(4))


def test_the_tokenizer_is_a_copy_that_names_by_the_largest_logit() -> None:
    method = made("dvae")
    batch = batch_of(method, pictures(4))
    tokenizer = method.tokenizer()
    assert isinstance(tokenizer, LearnedTokenizer)
    images = method.encoder.normalised(batch["views"][:, 0])
    assert torch.equal(tokenizer.codes(images), method.eval().project(batch)["codes"])


def test_it_works_with_a_convnet_too() -> None:
    method = DVAE(Encoder("test_resnet", size=32), codes=8)
    batch = batch_of(method, pictures(4))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])


def test_codes_must_be_chosen() -> None:
    with pytest.raises(RecipeError, match=r"DVAE\.resolve"):
        DVAE(Encoder("test_vit", size=32))
