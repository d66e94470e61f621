"""VQ: the loss in plain loops, a codebook that begins at the data and follows it, straight-through."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, prepared, terms_of

from selfsight.errors import RecipeError
from selfsight.methods.vq import VQ
from selfsight.nn.encoder import Encoder
from selfsight.nn.tokenizers import mean_colour


def test_loss_equals_its_slow_twin() -> None:
    method = made("vq")
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    terms = terms_of(method, seen, batch)
    vectors = method.codebook.vectors.double().numpy()
    mean = seen["pixels"].double().view(-1, 3).mean(dim=0).repeat(16).numpy()
    error = power = distance = 0.0
    for b, place in np.ndindex(3, 64):
        row = seen["rows"][b, place].detach().double().numpy()
        distances = ((vectors - row) ** 2).sum(axis=1)
        assert int(seen["codes"][b, place]) == distances.argmin()
        distance += distances.min() / len(row) / (3 * 64)
        pixels, drawn = (seen[name][b, place].detach().double().numpy() for name in ("pixels", "made"))
        error, power = error + ((drawn - pixels) ** 2).sum(), power + ((pixels - mean) ** 2).sum()
    assert terms["error"] == pytest.approx(error / power, rel=1e-5)
    assert terms["commitment"] == pytest.approx(distance, rel=1e-5)
    assert terms["loss"] == pytest.approx(error / power + 0.25 * distance, rel=1e-5)


def test_the_codebook_begins_at_the_data() -> None:
    method = made("vq", codes=16)
    batch = batch_of(method, pictures())

    def distance() -> float:
        return terms_of(method, everything(method, batch), batch)["commitment"]

    far, before = distance(), copy.deepcopy(method.encoder.state_dict())
    method.prepare(prepared(pictures()))
    assert distance() < far / 3
    assert method.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.state_dict().items())
    again = made("vq", codes=16)
    again.prepare(prepared(pictures()))
    assert torch.equal(again.codebook.vectors, method.codebook.vectors)


def test_only_the_step_end_moves_the_codebook() -> None:
    method = made("vq")
    batch = batch_of(method, pictures())
    before = copy.deepcopy(method.codebook.state_dict())
    seen = everything(method, batch)
    method.loss(seen, batch)["loss"].backward()
    assert all(torch.equal(value, before[name]) for name, value in method.codebook.state_dict().items())
    assert method.rows.weight.grad.abs().sum() > 0, "straight through the choice"
    method.on_step_end({name: tensor.detach() for name, tensor in seen.items()}, batch)
    after = method.codebook.state_dict()
    used = seen["codes"].unique()
    assert (after["vectors"][used] != before["vectors"][used]).any(dim=1).all()
    assert not torch.equal(after["counts"], before["counts"])


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint8)])
def test_any_picture_will_do(channels: int, dtype: type) -> None:
    method = made("vq", channels=channels, high=float(np.iinfo(dtype).max))
    batch = batch_of(method, pictures(4, channels, dtype))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])
    assert method.outputs(batch)["drawn again"].shape == (4, 32, 32, channels)


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method = made("vq")
    codes = torch.randint(0, method.codes, (4, 64), generator=torch.Generator().manual_seed(0))
    pixels, rows = torch.randn(4, 64, 48) + 2, method.codebook.vectors[codes]
    seen, colour = {"pixels": pixels, "rows": rows, "codes": codes}, mean_colour(pixels, 3).repeat(16)
    assert terms_of(method, seen | {"made": colour.expand_as(pixels)}, {})["loss"] == pytest.approx(method.chance(4))
    assert terms_of(method, seen | {"made": pixels}, {})["loss"] == pytest.approx(method.floor(4))


def test_the_tokenizer_is_a_copy_that_names_by_the_nearest_vector() -> None:
    method = made("vq")
    batch = batch_of(method, pictures(4))
    codes = method.tokenizer().codes(method.encoder.normalised(batch["views"][:, 0]))
    assert torch.equal(codes, method.eval().project(batch)["codes"])


def test_codes_must_be_chosen() -> None:
    with pytest.raises(RecipeError, match=r"VQ\.resolve"):
        VQ(Encoder("test_vit", size=32))
