"""VQ-KD: the loss in plain loops, a teacher that stays as it is, directions that turn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from patch_parts import batch_of, everything, made, pictures, prepared, terms_of
from torch.nn.functional import normalize

from selfsight.errors import RecipeError
from selfsight.methods.vqkd import VQKD
from selfsight.nn.encoder import Encoder


def test_loss_equals_its_slow_twin() -> None:
    method = made("vqkd")
    batch = batch_of(method, pictures(3))
    seen = everything(method, batch)
    terms = terms_of(method, seen, batch)
    features = method.guide.module.patches(batch["views"][:, 0]).detach().double().numpy()
    vectors = method.codebook.vectors.double().numpy()
    apart = distance = 0.0
    for b, place in np.ndindex(3, 64):
        row, told = (seen[name][b, place].detach().double().numpy() for name in ("rows", "told"))
        assert np.linalg.norm(row) == pytest.approx(1, rel=1e-5)
        assert int(seen["codes"][b, place]) == (vectors @ row).argmax()
        distance += ((vectors @ row).max() * -2 + 2) / len(row) / (3 * 64)
        teacher = features[b, place]
        apart += (1 - told @ teacher / np.linalg.norm(teacher) / np.linalg.norm(told)) / (3 * 64)
    assert terms["apart"] == pytest.approx(apart, rel=1e-5)
    assert terms["commitment"] == pytest.approx(distance, rel=1e-4)
    assert terms["loss"] == pytest.approx(apart + distance, rel=1e-5)


def test_the_teacher_stays_as_it_is() -> None:
    teacher = made("simclr")
    method = made("vqkd", before=teacher)
    assert not method.guide.module.training
    assert not any(p.requires_grad for p in method.guide.parameters())
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
    assert sum(p.abs().sum() for p in method.guide.parameters()) > 0
    assert not made("vqkd").train().guide.module.training


def test_directions_begin_at_the_data_and_keep_their_length() -> None:
    method = made("vqkd", codes=16)
    batch = batch_of(method, pictures())
    far = terms_of(method, everything(method, batch), batch)["commitment"]
    method.prepare(prepared(pictures()))
    seen = {name: tensor.detach() for name, tensor in everything(method, batch).items()}
    assert terms_of(method, seen, batch)["commitment"] < far / 3
    before = copy.deepcopy(method.codebook.vectors)
    method.on_step_end(seen, batch)
    torch.testing.assert_close(method.codebook.vectors.norm(dim=1), torch.ones(16))
    used = torch.bincount(seen["codes"].flatten(), minlength=16) > 0
    assert torch.equal(method.codebook.vectors[~used], before[~used])
    assert (method.codebook.vectors[used] != before[used]).any(dim=1).all()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (5, np.uint16)])
def test_any_picture_will_do(channels: int, dtype: type) -> None:
    method = made("vqkd", channels=channels, high=float(np.iinfo(dtype).max))
    batch = batch_of(method, pictures(4, channels, dtype))
    assert torch.isfinite(method.loss(everything(method, batch), batch)["loss"])


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method = made("vqkd")
    codes = torch.zeros(4, 64, dtype=torch.int64)
    features = normalize(torch.randn(4, 64, 64), dim=-1)
    across = torch.cat([-features[..., 1::2], features[..., ::2]], dim=-1)
    features = torch.cat([features[..., ::2], features[..., 1::2]], dim=-1)
    seen = {"features": features, "rows": method.codebook.vectors[codes], "codes": codes}
    assert terms_of(method, seen | {"told": across}, {})["loss"] == pytest.approx(method.chance(4), abs=1e-6)
    assert terms_of(method, seen | {"told": features}, {})["loss"] == pytest.approx(method.floor(4), abs=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RecipeError, match="--set teacher=simclr"):
        made("vqkd", teacher="vqkd")
    with pytest.raises(RecipeError, match="needs its teacher"):
        VQKD(Encoder("test_vit", size=32), codes=8)
