"""Relative position: what the network sees of a patch, which pairs it is asked for, and no shortcut in noise."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from method_parts import accuracy_without_a_clue, batch_from, every_tap_learns, one_step, said_before_training
from torch import nn

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.methods.base import Facts
from selfsight.methods.relative_position import RelativePosition
from selfsight.nn.encoder import Encoder
from selfsight.views.neighbourhood import PAIRS

EXPECTED = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["relative_patch"]["expected"]


def made(channels: int = 3, size: int = 32, encoder: str = "test_resnet", **settings: object) -> RelativePosition:
    torch.manual_seed(0)
    kept = {"anti_aberration": "drop", **settings}
    return RelativePosition(Encoder(encoder, channels=channels, size=size), **kept).train()


def resolved(
    size: int = 32, channels: int = 3, batch: int = 64, micro: int | None = None, **settings: object
) -> dict[str, object]:
    found = RelativePosition.resolve(settings, Facts(1000, batch, size, channels, 0, micro))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def noise(count: int, generator: np.random.Generator, side: int = 37) -> list[np.ndarray]:
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def batch_of(method: RelativePosition, count: int = 8) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    return batch_from(method.views(method.encoder.size), noise(count, generator), generator)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("relative_position") is RelativePosition
    assert set(methods.settings(RelativePosition)) == {"pairs", "anti_aberration"}
    assert all(row["note"] for row in methods.describe("relative_position")["settings"])


def test_colour_is_dropped_where_there_is_colour() -> None:
    assert resolved()["anti_aberration"] == "drop"
    assert resolved(channels=1)["anti_aberration"] == "none"
    assert resolved(channels=5)["anti_aberration"] == "none"
    assert resolved(anti_aberration="projection") == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": "al"}, "Did you mean 'all'"),
        ({"anti_aberration": "dorp"}, "Did you mean 'drop'"),
        ({"anti_aberration": "projection", "channels": 1}, "have 1 channel;"),
        ({"anti_aberration": "projection", "channels": 5}, "have 5 channels;"),
        ({"size": 16}, "give --size 24"),
        ({"micro": 1}, "--micro-batch"),
    ],
)
def test_what_cannot_be_is_refused_before_training(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolved(**settings)


def test_pictures_too_small_to_be_cut_are_told_before_training() -> None:
    generator = np.random.default_rng(0)
    assert said_before_training(made(), noise(4, generator)) == []
    (said,) = said_before_training(made(), noise(1, generator) + noise(3, generator, side=12))
    assert said.startswith("relative_position: 3 of 4 pictures")


def test_the_constructor_refuses_too() -> None:
    for settings in ({"anti_aberration": None}, {"pairs": "centre pair"}, {"anti_aberration": "colour"}):
        with pytest.raises(RecipeError):
            made(**settings)
    with pytest.raises(RecipeError, match="red, green and blue"):
        made(channels=4, anti_aberration="projection")


def test_no_batch_norm_of_the_head_has_a_gain_or_a_shift() -> None:
    method = made()
    norms = [module for part in (method.reducer, method.fusion, method.head) for module in part.modules()]
    norms = [module for module in norms if isinstance(module, nn.BatchNorm1d)]
    assert len(norms) == 2
    assert not any(norm.affine for norm in norms)


@pytest.mark.parametrize(
    ("size", "encoder", "side"),
    [(size, encoder, side) for size, side in ((32, 24), (224, 96)) for encoder in ("test_resnet", "test_vit")]
    + [(96, "test_resnet", 33), (96, "test_vit", 24)],
)
@pytest.mark.parametrize(("pairs", "patches", "asked"), [("centre", 2, 1), ("all", 9, 40)])
def test_sizes_and_pairs(size: int, side: int, encoder: str, pairs: str, patches: int, asked: int) -> None:
    method = made(size=size, encoder=encoder, pairs=pairs)
    batch = batch_of(method, 2)
    assert batch["patches"].shape == (2, patches, side, side, 3)
    logits = method.project(batch)["logits"]
    assert logits.shape == (2, asked, 8)
    assert torch.isfinite(method.loss({"logits": logits}, batch)["loss"])


@pytest.mark.parametrize("size", [64, 96])
def test_every_tap_of_the_last_stage_learns(size: int) -> None:
    method = made(size=size, encoder="resnet10t")
    assert every_tap_learns(method, batch_of(method, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "colour"), [(1, "none"), (1, "drop"), (5, "drop"), (5, "none")])
def test_other_channels_and_depths(channels: int, colour: str, dtype: type) -> None:
    method = made(channels, anti_aberration=colour)
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype=dtype) for _ in range(4)]
    batch = batch_from(method.views(32), pictures, generator)
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])


@pytest.mark.parametrize("colour", ["drop", "projection", "none"])
def test_what_is_seen_has_mean_square_1_and_no_trace_of_what_was_taken(colour: str) -> None:
    method = made(anti_aberration=colour)
    patches = batch_of(method)["patches"].flatten(0, 1)
    seen = method.seen(patches)
    assert seen.shape == (16, 3, 24, 24)
    torch.testing.assert_close(seen.square().mean(dim=(1, 2, 3)), torch.ones(16))
    if colour == "drop":
        torch.testing.assert_close(seen.mean(dim=(2, 3)), torch.zeros(16, 3), atol=1e-5, rtol=0)
        assert ((seen.std(dim=(2, 3)) > 0.1).sum(dim=1) == 1).all()
    if colour == "projection":
        matrix = torch.tensor(EXPECTED["projection_matrix"])
        plain = (patches.float() / 255 - torch.tensor(method.encoder.mean)) @ matrix  # (16, 24, 24, 3)
        plain = plain / plain.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        torch.testing.assert_close(seen, plain.movedim(-1, 1), rtol=1e-4, atol=1e-4)


def test_a_constant_patch_stays_finite() -> None:
    for colour in ("drop", "projection", "none"):
        method = made(anti_aberration=colour)
        seen = method.seen(torch.full((2, 24, 24, 3), 90, dtype=torch.uint8))
        assert torch.isfinite(seen).all()
        assert colour != "drop" or (seen == 0).all()


def test_all_pairs_ask_for_every_pair_of_the_same_nine_patches() -> None:
    method = made(pairs="all").eval()
    batch = batch_of(method, 3)
    logits = method.project(batch)["logits"]
    rows = method.reducer(method.encoder(method.seen(batch["patches"].flatten(0, 1)))).view(3, 9, -1)
    losses = []
    for place, (first, second, label) in enumerate(PAIRS):
        alone = method.head(method.fusion(torch.cat([rows[:, first], rows[:, second]], dim=1)))
        torch.testing.assert_close(logits[:, place], alone, rtol=1e-4, atol=1e-5)
        losses += (-torch.log_softmax(alone, dim=1)[:, label]).tolist()
    assert method.loss({"logits": logits}, batch)["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_order_of_the_two_patches_matters() -> None:
    method = made().eval()
    batch = batch_of(method, 3)
    swapped = {**batch, "patches": batch["patches"].flip(1)}
    assert not torch.allclose(method.project(batch)["logits"], method.project(swapped)["logits"], atol=1e-4)


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method = made()
    assert method.chance(8) == pytest.approx(EXPECTED["chance_ce"], rel=1e-12)
    batch = {"neighbour": torch.arange(8)}
    assert method.loss({"logits": torch.zeros(8, 1, 8)}, batch)["loss"].item() == pytest.approx(method.chance(8))
    sure = method.loss({"logits": 100 * torch.eye(8)[:, None]}, batch)
    assert (sure["loss"].item(), sure["accuracy"].item()) == (method.floor(8), 1.0)


def test_all_pairs_of_a_few_pictures_are_learned_by_heart() -> None:
    method = made(pairs="all")
    batch = batch_of(method, 4)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    losses = [one_step(method, batch, optimizer) for _ in range(40)]
    assert min(losses) < 0.1 * log(8)


@pytest.mark.parametrize(("colour", "side"), [("drop", 32), ("none", 37), ("projection", 50)])
def test_noise_stays_at_chance(colour: str, side: int) -> None:
    """Nothing but the picture may tell the place: not the edges, not the resize, not the padding of the network."""
    method = made(anti_aberration=colour)
    found = accuracy_without_a_clue(method, 32, lambda count, generator: noise(count, generator, side), steps=80)
    assert abs(found - 1 / 8) < 3.3 * (7 / 64 / 480) ** 0.5
