"""LeJEPA: views of one and of two sizes, fresh directions that a resume repeats, its loss, chance and Gaussian rest."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_from, batch_of, one_step, resolved

from selfsight.errors import RecipeError
from selfsight.losses.precision import unit
from selfsight.losses.sigreg import sigreg
from selfsight.losses.spread import spread
from selfsight.methods.base import Batch
from selfsight.methods.lejepa import LeJEPA
from selfsight.nn.encoder import Encoder

SETTINGS = {"directions": 64, "global_views": 2, "local_views": 3, "augmentation": "lejepa"}


def made(**settings: object) -> LeJEPA:
    torch.manual_seed(0)
    return LeJEPA(TinyEncoder(), **{**SETTINGS, "hidden": 32, "width": 8, **settings})


def crops_of(method: LeJEPA, count: int = 6) -> Batch:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (count, 40, 50, 3), dtype=np.uint8)
    return batch_from(method.views(32), pictures, generator)


def test_size_decides_the_recipe() -> None:
    assert resolved(LeJEPA, 32) == {"directions": 256, "global_views": 4, "local_views": 0, "augmentation": "simclr"}
    assert resolved(LeJEPA, 224) == {"directions": 1024, "global_views": 2, "local_views": 6, "augmentation": "lejepa"}
    assert [LeJEPA.defaults(size).warmup for size in (32, 224)] == [10.0, 1.0]
    for name in SETTINGS:
        with pytest.raises(RecipeError, match="not set"):
            made(**{name: None})


def test_an_encoder_that_takes_no_small_views_is_refused() -> None:
    with pytest.raises(RecipeError, match="'mixer_s32_224' cannot take the 28 px parts of a view"):
        LeJEPA(Encoder("mixer_s32_224", size=64), **SETTINGS)


def test_views_of_two_sizes_meet_in_the_head() -> None:
    method = made()
    assert (method.views(224).large.size, method.views(224).small.size) == (224, 98)
    batch = crops_of(method)
    assert {name: tuple(tensor.shape[1:3]) for name, tensor in batch.items()} == {"views": (2, 32), "crops": (3, 14)}
    assert method.project(batch)["views"].shape == (6, 5, 8)


def test_without_small_views_there_is_one_array() -> None:
    method = made(global_views=4, local_views=0, augmentation="simclr")
    batch = crops_of(method)
    assert list(batch) == ["views"]
    assert method.project(batch)["views"].shape == (6, 4, 8)


def test_loss_is_about_the_centre_of_the_global_views() -> None:
    method = made(regularisation=0.2)
    batch = crops_of(method)
    rows = method.project(batch)["views"]
    drawn = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    terms = method.loss({"views": rows}, batch)
    torch.testing.assert_close(terms["sigreg"], sigreg(rows.transpose(0, 1), unit(drawn).T))
    torch.testing.assert_close(terms["spread"], spread(rows, 2))
    torch.testing.assert_close(terms["loss"], 0.2 * terms["sigreg"] + 0.8 * terms["spread"])


def test_directions_are_fresh_at_every_step_and_a_resume_repeats_them() -> None:
    method, batch = made(global_views=2, local_views=0), batch_of(8)
    first = [one_step(method, batch) for _ in range(3)]
    assert len(set(first)) == 3, "the network did not change, what it is asked did"
    resumed = made(global_views=2, local_views=0)
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    assert [one_step(resumed, batch) for _ in range(2)] == [one_step(method, batch) for _ in range(2)]
    assert int(resumed.steps) == 5


def test_chance_is_the_loss_of_zeros_and_gaussian_rows_have_the_floor() -> None:
    method = made(regularisation=0.05)
    zeros = torch.zeros(16, 5, 8)
    assert method.loss({"views": zeros}, {})["loss"].item() == pytest.approx(method.chance(16))
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 16, 1, 8, generator=generator).expand(-1, -1, 5, -1)
    found = np.mean([method.loss({"views": one}, {})["loss"].item() for one in rows])
    assert found == pytest.approx(method.floor(16), rel=0.1)
