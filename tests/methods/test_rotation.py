"""Rotation: all four turns in one batch or one at random, no clue in the rendering, and a word before it is in vain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, accuracy_without_a_clue, batch_from, one_step, said_before_training

from selfsight import methods
from selfsight.methods.base import Prepared
from selfsight.methods.rotation import Rotation

EXPECTED = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["rotation"]["expected"]


def made(width: int = 32, **settings: bool) -> Rotation:
    torch.manual_seed(0)
    return Rotation(TinyEncoder(width), **settings).train()


def noise(count: int, generator: np.random.Generator, side: int = 41) -> list[np.ndarray]:
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def symmetric(count: int, generator: np.random.Generator) -> Iterable[np.ndarray]:
    """Pictures that are their own quarter turn."""
    sums = (sum(np.rot90(image.astype(int), k) for k in range(4)) for image in noise(count, generator))
    return ((total // 4).astype(np.uint8) for total in sums)


def batch_of(method: Rotation, count: int = 8) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    return batch_from(method.views(32), noise(count, generator), generator)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("rotation") is Rotation
    assert set(methods.settings(Rotation)) == {"four_way"}
    assert all(row["note"] for row in methods.describe("rotation")["settings"])


def test_the_recipes_are_the_released_ones() -> None:
    small, large = Rotation.defaults(32), Rotation.defaults(224)
    assert (small.rate(128)[0], small.batch, small.weight_decay, small.epochs) == (0.1, 128, 5e-4, 200)
    assert large.rate(192)[0] == pytest.approx(0.1)
    assert (large.batch, large.weight_decay, large.epochs) == (192, 5e-4, 50)


def test_all_four_turns_of_every_picture_are_in_one_batch() -> None:
    method, seen = made(), []
    batch = batch_of(method)
    method.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = method.project(batch)["logits"]
    assert [one.shape for one in seen] == [(32, 32, 32, 3)]
    for row, view in enumerate(batch["view"].numpy()):
        for quarters in range(4):
            assert (seen[0][4 * row + quarters].numpy() == np.rot90(view, quarters)).all()
    assert logits.shape == (8, 4, 4)
    losses = [-torch.log_softmax(logits[b, k], dim=0)[k].item() for b in range(8) for k in range(4)]
    assert method.loss({"logits": logits}, batch)["loss"].item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_one_turn_is_a_fact_of_the_view() -> None:
    method = made(four_way=False)
    batch = batch_of(method, 64)
    assert set(batch["turn"].tolist()) == {0, 1, 2, 3}
    logits = method.project(batch)["logits"]
    assert logits.shape == (64, 4)
    expected = torch.nn.functional.cross_entropy(logits, batch["turn"])
    torch.testing.assert_close(method.loss({"logits": logits}, batch)["loss"], expected)


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method = made()
    assert method.chance(8) == pytest.approx(EXPECTED["chance_ce"], rel=1e-12)
    terms = method.loss({"logits": torch.zeros(8, 4, 4)}, {})
    assert terms["loss"].item() == pytest.approx(method.chance(8))
    sure = method.loss({"logits": 100 * torch.eye(4).expand(8, 4, 4)}, {})
    assert (sure["loss"].item(), sure["accuracy"].item()) == (method.floor(8), 1.0)


def test_eight_pictures_are_learned_by_heart_with_one_turn_each_too() -> None:
    method = made(64, four_way=False)
    batch = batch_of(method)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    losses = [one_step(method, batch, optimizer) for _ in range(200)]
    assert min(losses) < 0.1 * log(4)


def test_views_that_are_their_own_turn_are_right_once_in_four_exactly() -> None:
    method = made()
    view = batch_from(method.views(32), noise(8, np.random.default_rng(0)), np.random.default_rng(0))["view"].int()
    view = sum(torch.rot90(view, k, dims=(1, 2)) for k in range(4)) // 4
    batch = {"view": view.to(torch.uint8)}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(5):
        one_step(method, batch, optimizer)
    terms = method.loss(method.project(batch), batch)
    assert terms["accuracy"].item() == 0.25
    assert terms["loss"].item() >= log(4) - 1e-5


@pytest.mark.parametrize("pictures", [symmetric, noise])
def test_pictures_without_an_upright_stay_at_chance(pictures: object) -> None:
    """480 new pictures; half a chance in a thousand to be off by more."""
    found = accuracy_without_a_clue(made(four_way=False), 32, pictures, steps=60)
    assert abs(found - 0.25) < 3.3 * (0.25 * 0.75 / 480) ** 0.5


@pytest.mark.parametrize("lit", [False, True])
def test_pictures_without_an_upright_are_told_before_training(lit: bool) -> None:
    said: list[str] = []

    def images(every: int) -> Iterator[np.ndarray]:
        slope = np.linspace(1.0, 0.6 if lit else 1.0, 41)[:, None, None]
        return ((image * slope).astype(np.uint8) for image in noise(120, np.random.default_rng(0))[::every])

    data = Prepared(0, torch.full((120,), -1), images, lambda: torch.zeros(120, 32), said.append)
    method = made()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.prepare(data)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    assert len(said) == (not lit)
    assert lit or ("no upright" in said[0] and "--method" in said[0])
    (few,) = said_before_training(method, list(noise(20, np.random.default_rng(0))))
    assert few.startswith("20 pictures are too few to tell")
