"""Jigsaw: its settings, what the network sees of a tile, and no clue where there is none."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from method_parts import accuracy_without_a_clue, batch_from, every_tap_learns, one_step, said_before_training

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.methods.base import Facts
from selfsight.methods.jigsaw import Jigsaw
from selfsight.nn.encoder import Encoder
from selfsight.views.permutations import permutation_set

EXPECTED = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["jigsaw"]["expected"]


def made(channels: int = 3, size: int = 32, encoder: str = "test_resnet", **settings: object) -> Jigsaw:
    torch.manual_seed(0)
    return Jigsaw(Encoder(encoder, channels=channels, size=size), **{"permutations": 24, **settings}).train()


def resolved(size: int = 32, batch: int = 64, micro: int | None = None, **settings: object) -> dict[str, object]:
    found = Jigsaw.resolve(settings, Facts(1000, batch, size, 3, 0, micro))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def noise(count: int, generator: np.random.Generator, side: int = 37) -> list[np.ndarray]:
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def flat_cells(count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Each cell of a 30 x 30 picture of one colour, so that each tile is constant."""
    cells = generator.integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return list(cells.repeat(10, axis=1).repeat(10, axis=2))


def batch_of(method: Jigsaw, count: int = 8) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    return batch_from(method.views(method.encoder.size), noise(count, generator), generator)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("jigsaw") is Jigsaw
    assert set(methods.settings(Jigsaw)) == {"tiles", "permutations", "criterion", "grey", "tile_share", "shift"}
    assert all(row["note"] for row in methods.describe("jigsaw")["settings"])


def test_how_many_permutations() -> None:
    assert resolved()["permutations"] == 100
    assert resolved(tiles=2)["permutations"] == 24
    assert resolved(permutations=64) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tiles": 4}, "use tiles=2 or tiles=3"),
        ({"tiles": 2, "permutations": 25}, "from 2 to 24"),
        ({"permutations": 1}, "from 2 to 2000"),
        ({"permutations": 2001}, "from 2 to 2000, not 2001"),
        ({"criterion": "mena"}, "Did you mean 'mean'"),
        ({"size": 16}, "give --size 24"),
        ({"tiles": 2, "size": 23}, "give --size 24"),
        ({"micro": 1}, "--micro-batch"),
        ({"batch": 1}, "larger --micro-batch or --batch"),
    ],
)
def test_what_cannot_be_is_refused_before_training(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolved(**settings)


def test_pictures_too_small_to_be_cut_are_told_before_training() -> None:
    generator = np.random.default_rng(0)
    assert said_before_training(made(), noise(4, generator)) == []
    (said,) = said_before_training(made(), noise(1, generator) + noise(3, generator, side=12))
    assert said.startswith("jigsaw: 3 of 4 pictures")


def test_the_constructor_refuses_too() -> None:
    for settings in ({"permutations": None}, {"tiles": 2, "permutations": 100}, {"criterion": "max"}):
        with pytest.raises(RecipeError):
            made(**settings)


def test_an_encoder_that_takes_no_small_parts_is_refused() -> None:
    with pytest.raises(RecipeError, match="cannot take the 24 px parts of a view"):
        made(size=64, encoder="mixer_s32_224")


@pytest.mark.parametrize(("tiles", "size", "side"), [(3, 32, 24), (2, 32, 24), (3, 224, 64)])
@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_sizes_and_tiles(tiles: int, size: int, side: int, encoder: str) -> None:
    method = made(size=size, encoder=encoder, tiles=tiles)
    batch = batch_of(method, 2)
    assert batch["tiles"].shape == (2, tiles**2, side, side, 3)
    assert method.project(batch)["logits"].shape == (2, 24)


@pytest.mark.parametrize("size", [64, 96])
def test_every_tap_of_the_last_stage_learns(size: int) -> None:
    method = made(size=size, encoder="resnet10t")
    assert every_tap_learns(method, batch_of(method, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_and_depths(channels: int, dtype: type) -> None:
    method = made(channels, shift=1)
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype=dtype) for _ in range(4)]
    batch = batch_from(method.views(32), pictures, generator)
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])


def test_the_network_sees_all_tiles_at_once_each_with_mean_0_and_deviation_1() -> None:
    method, seen = made(), []
    batch = batch_of(method)
    method.encoder.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    method.project(batch)
    assert [one.shape for one in seen] == [(72, 3, 24, 24)]
    torch.testing.assert_close(seen[0].mean(dim=(2, 3)), torch.zeros(72, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].std(dim=(2, 3), correction=0), torch.ones(72, 3))


def test_each_slot_has_its_own_place_in_the_head() -> None:
    """The concatenation is in the order of the slots: a permuted batch is another question."""
    method = made().eval()
    batch = batch_of(method, 4)
    order = torch.from_numpy(permutation_set(9, 24)[5].astype(np.int64))
    rows = method.reducer(method.encoder(batch["tiles"].flatten(0, 1).float().movedim(-1, 1)))
    assert rows.shape == (36, 512)
    permuted = {**batch, "tiles": batch["tiles"][:, order]}
    assert not torch.allclose(method.project(batch)["logits"], method.project(permuted)["logits"], atol=1e-4)
    restored = {**batch, "tiles": permuted["tiles"][:, torch.argsort(order)]}
    torch.testing.assert_close(method.project(batch)["logits"], method.project(restored)["logits"])


@pytest.mark.parametrize("count", [64, 1000])
def test_chance_and_floor_are_the_loss_of_what_they_say(count: int) -> None:
    method = made(permutations=count)
    assert method.chance(8) == pytest.approx(EXPECTED[f"chance_ce_{count}"], rel=1e-12)
    batch = {"permutation": torch.arange(8)}
    terms = method.loss({"logits": torch.zeros(8, count)}, batch)
    assert terms["loss"].item() == pytest.approx(method.chance(8))
    sure = method.loss({"logits": 100 * torch.eye(count)[:8]}, batch)
    assert (sure["loss"].item(), sure["accuracy"].item()) == (method.floor(8), 1.0)


def test_constant_tiles_say_nothing() -> None:
    """Every permutation once: one answer for all is right once in P, and its loss is at least log P."""
    method = made()
    views, generator = method.views(32), np.random.default_rng(0)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    for _ in range(8):
        one_step(method, batch_from(views, flat_cells(24, generator), generator), optimizer)
    batch = batch_from(views, flat_cells(24, generator), generator)
    batch["permutation"] = torch.arange(24)
    terms = method.loss(method.project(batch), batch)
    assert terms["accuracy"].item() == pytest.approx(1 / 24)
    assert log(24) - 1e-5 <= terms["loss"].item() < log(24) + 0.02


def test_noise_stays_at_chance() -> None:
    found = accuracy_without_a_clue(made(permutations=4, tiles=2), 32, noise, steps=40)
    assert abs(found - 0.25) < 3.3 * (0.25 * 0.75 / 480) ** 0.5
