"""Colourisation: its recipes, its prior, its loss over codes, and eight pictures learned by heart."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight import distributed, methods
from selfsight.errors import DataError, RecipeError
from selfsight.methods.base import Batch, Facts, Prepared
from selfsight.methods.colorization import Colorization
from selfsight.nn.colour_bins import rebalanced
from selfsight.nn.encoder import Encoder
from selfsight.views.lab import linear, to_lab
from selfsight.views.render import whole

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["colorization"]["expected"]


def made(encoder: str = "test_resnet", **settings: object) -> Colorization:
    torch.manual_seed(0)
    return Colorization(Encoder(encoder, size=32), **{"resolution": 8, "hidden": 16, **settings}).train()


def facts(size: int = 32, channels: int = 3) -> Facts:
    return Facts(count=1000, batch=128, size=size, channels=channels, classes=0)


def picture(seed: int) -> np.ndarray:
    """A colour picture (40, 48, 3) of smooth patches."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def grey(seed: int) -> np.ndarray:
    return picture(seed)[..., :1].repeat(3, axis=2)


def batch_of(method: Colorization, images: Sequence[np.ndarray]) -> Batch:
    views = method.views(32)
    samples = [views(image, np.random.default_rng(i)) for i, image in enumerate(images)]
    return {name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]}


def prepared(images: Sequence[np.ndarray], said: list[str] | None = None) -> Prepared:
    say = (lambda sentence: None) if said is None else said.append
    labels = torch.full((len(images),), -1)
    return Prepared(0, labels, lambda k=1: iter(images[::k]), lambda: torch.zeros(0), say)


def terms_of(method: Colorization, batch: Batch) -> dict[str, torch.Tensor]:
    return method.loss({**method.project(batch), **method.targets(batch)}, batch)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("colorization") is Colorization
    told = methods.describe("colorization")["settings"]
    assert {row["name"] for row in told} == {
        "neighbours",
        "spacing",
        "uniform",
        "hidden",
        "resolution",
        "temperature",
        "augmentation",
    }
    assert all(row["note"] for row in told)


@pytest.mark.parametrize(("size", "resolution", "batch"), [(32, 8, 256), (96, 12, 256), (224, 28, 40), (512, 28, 40)])
def test_size_decides_the_recipe(size: int, resolution: int, batch: int) -> None:
    value, reason = Colorization.resolve({}, facts(size))["resolution"]
    assert value == resolution
    assert reason
    training = Colorization.defaults(size)
    assert (training.batch, training.beta2) == (batch, 0.99 if size > 96 else 0.999)  # released solver: 0.99


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_other_channels_are_refused_with_the_remedy(channels: int) -> None:
    with pytest.raises(RecipeError, match=f"these have {channels}; take a method that needs no colours"):
        Colorization.resolve({}, facts(channels=channels))


@pytest.mark.parametrize(
    "settings",
    [{"resolution": None}, {"resolution": 33}, {"spacing": 15}, {"neighbours": 314}, {"spacing": 20, "neighbours": 79}],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        made(**settings)


def test_views_that_change_colours_are_refused() -> None:
    with pytest.raises(RecipeError, match="use crop-flip"):
        made(augmentation="simclr").views(32)


def test_the_network_sees_lightness_only() -> None:
    """Two pictures that differ in colour alone are the same to it, as integer pixels in three equal channels."""
    method = made().eval()
    batch = batch_of(method, [picture(0), picture(1)])
    assert batch["lightness"].dtype == torch.uint8
    assert (batch["lightness"] == batch["lightness"][..., :1]).all()
    other = {**batch, "ab": batch["ab"].flip(0)}
    assert torch.equal(method.project(batch)["logits"], method.project(other)["logits"])
    grid = method.decoder.grid
    assert method.project(batch)["logits"].shape == (2, 313, *grid)


def test_loss_is_the_weighted_soft_cross_entropy_of_a_slow_twin() -> None:
    method = made()
    method.prepare(prepared([picture(i) for i in range(6)]))
    batch = batch_of(method, [picture(0), grey(1), picture(2)])
    assert batch["grey"].tolist() == [0, 1, 0]
    projections = {**method.project(batch), **method.targets(batch)}
    terms = method.loss(projections, batch)
    prior = method.bins.prior.double().numpy()
    weights = 1 / (0.5 * prior + 0.5 / 313)
    weights /= (prior * weights).sum()
    logits = projections["logits"].detach().double().numpy()
    total = plain = hits = count = 0.0
    for b in (0, 2):
        for y, x in np.ndindex(*method.decoder.grid):
            index, shares = method.bins.codes(batch["ab"][b, y, x] / 100)
            row = logits[b, :, y, x]
            each = sum(float(s) * (np.log(np.exp(row).sum()) - row[q]) for q, s in zip(index, shares, strict=True))
            total, plain, count = total + weights[index[0]] * each, plain + each, count + 1
            hits += row.argmax() == index[0]
    assert terms["loss"].item() == pytest.approx(total / count, rel=1e-5)
    assert terms["cross_entropy"].item() == pytest.approx(plain / count, rel=1e-5)
    assert terms["accuracy"].item() == pytest.approx(hits / count)
    assert terms["grey"].item() == pytest.approx(1 / 3)


def test_a_batch_that_is_all_grey_costs_nothing() -> None:
    method = made()
    batch = batch_of(method, [grey(0), grey(1)])
    terms = terms_of(method, batch)
    assert terms["loss"].item() == 0
    terms["loss"].backward()
    assert all(p.grad.abs().max() == 0 for p in method.parameters() if p.grad is not None)


def test_a_grey_picture_has_no_gradient() -> None:
    method = made("test_vit")
    batch = batch_of(method, [picture(0), grey(1)])
    alone = {name: tensor[:1] for name, tensor in batch.items()}
    both, one = terms_of(method, batch)["loss"], terms_of(method, alone)["loss"]
    torch.testing.assert_close(both, one)
    parameters = list(method.parameters())
    for first, second in zip(*[torch.autograd.grad(loss, parameters) for loss in (both, one)], strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-4)


def test_ranks_share_the_mean_over_all_coloured_locations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks with different numbers of grey views: their totals over their counts are the loss of the batch."""
    method = made("test_vit")
    batch = batch_of(method, [picture(0), grey(1), picture(2), picture(3)])
    whole = terms_of(method, batch)["loss"]
    shares: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(distributed, "mean", lambda total, count: shares.append((total, count)) or total / count)
    for half in (slice(0, 2), slice(2, 4)):
        terms_of(method, {name: tensor[half] for name, tensor in batch.items()})
    (first, few), (second, many) = shares[0], shares[len(shares) // 2]
    assert 2 * few == many
    torch.testing.assert_close((first + second) / (few + many), whole)


def test_the_prior_is_the_mean_code_of_the_coloured_pictures() -> None:
    method, again = made(), made()
    flat = [np.full((40, 40, 3), colour, np.uint8) for colour in ((200, 60, 40), (30, 90, 160))]
    images = [*flat, grey(0)]
    said: list[str] = []
    method.prepare(prepared(images, said))
    again.prepare(prepared(images))
    assert torch.equal(method.bins.prior, again.bins.prior)
    expected = torch.zeros(313, dtype=torch.float64)
    for image in flat:
        ab = torch.from_numpy(to_lab(linear(image[0, 0] / 255.0))[1:])
        index, shares = method.bins.codes(ab.mul(100).round() / 100)
        expected[index] += shares / 2
    torch.testing.assert_close(method.bins.prior.double(), expected, atol=1e-5, rtol=1e-4)
    assert said == ["1 of 3 training pictures are grey or nearly so and teach colours little"]


def test_the_prior_of_many_pictures_is_that_of_some_and_rank_0s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40,000 every other is looked at, and only these are counted."""
    method, copied, asked, said = made(), [], [], []
    monkeypatch.setattr(distributed, "copy_first", copied.append)
    images = [picture(0), grey(1)]
    many = Prepared(0, torch.full((40_000,), -1), lambda k=1: asked.append(k) or iter(images), list, said.append)
    method.prepare(many)
    assert asked == [2]
    assert said == ["1 of 2 training pictures are grey or nearly so and teach colours little"]
    assert copied[0] is method.bins.prior
    images[0] = grey(0)
    with pytest.raises(DataError, match="no training picture has colours"):
        method.prepare(many)


def test_a_transformers_class_token_which_learns_nothing_is_not_what_is_kept() -> None:
    method = made("test_vit").eval()
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(method.product(pixels), method.product.patches(pixels).mean(dim=1))


def test_coloured_pictures_need_no_warning_and_grey_ones_alone_are_refused() -> None:
    said: list[str] = []
    made().prepare(prepared([picture(i) for i in range(10)] + [grey(0)], said))
    assert not said
    with pytest.raises(DataError, match=r"no training picture has colours.*use simclr.*another --out"):
        made().prepare(prepared([grey(i) for i in range(4)]))


def test_chance_is_the_least_loss_of_one_prediction_for_all_places() -> None:
    """Before anything is measured a uniform one; then that of gradient descent on 313 logits. Half is white."""
    method, image = made(), np.full((32, 32, 3), 255, np.uint8)
    image[16:] = np.random.default_rng(0).integers(0, 256, (4, 8, 3)).repeat(4, axis=0).repeat(4, axis=1)
    images = [image, image[:, ::-1]]
    assert method.chance(2) == pytest.approx(log(313))
    method.prepare(prepared(images))
    seen = method.views(32)
    colours = np.stack([seen.split(whole(one, seen.size))["ab"] for one in images])
    batch = {"ab": torch.from_numpy(colours), "grey": torch.zeros(2, dtype=torch.int64)}
    codes = method.targets(batch)
    logits = torch.zeros(1, 313, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        loss = method.loss({"logits": logits.expand(2, -1, *colours.shape[1:3]), **codes}, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(method.chance(2), rel=1e-3)
    assert method.chance(2) < 0.9 * log(313)


def test_floor_is_the_loss_of_the_best_prediction_at_the_centre_of_a_bin() -> None:
    method = made()
    batch = batch_of(method, [picture(0), picture(1)])
    batch = {**batch, "ab": torch.zeros_like(batch["ab"])}
    codes = method.targets(batch)
    best = torch.full((2, 313, *method.decoder.grid), -1e6).scatter(1, codes["nearest"], codes["shares"].log())
    loss = method.loss({"logits": best, **codes}, batch)["loss"].item()
    assert loss == pytest.approx(method.floor(2), rel=1e-5)
    weights = CHECK["soft_encode_k5_sigma5"]["[0.0, 0.0]"]["weights"]
    assert method.floor(2) == pytest.approx(-sum(w * log(w) for w in weights), rel=1e-6)


def test_outputs_are_the_colours_when_the_prediction_is_right() -> None:
    """With the logits of the true code the picture comes back, up to the code's own blur."""
    method = made(resolution=32, temperature=1.0).eval()
    image = np.full((40, 40, 3), (170, 90, 60), np.uint8)
    batch = batch_of(method, [image, image])
    codes = method.targets(batch)
    logits = torch.full((2, 313, *method.decoder.grid), -1e6).scatter(1, codes["nearest"], codes["shares"].log())
    method.project = lambda batch: {"logits": logits}  # type: ignore[method-assign]
    found = method.outputs(batch)
    assert list(found) == ["grey", "coloured"]
    assert all(array.dtype == np.uint8 and array.shape == (2, 32, 32, 3) for array in found.values())
    np.testing.assert_allclose(found["coloured"], image[:32, :32][None].repeat(2, axis=0), atol=6)
    assert np.ptp(found["grey"].astype(int), axis=-1).max() <= 1  # the inverse of the white point is off by 1e-5
    np.testing.assert_allclose(found["grey"].mean(), 0.2127 * 170 + 0.7152 * 90 + 0.0722 * 60, atol=12)  # as bright


def test_sixteen_bit_pictures_are_learned_and_shown() -> None:
    torch.manual_seed(0)
    encoder = Encoder("test_resnet", size=32, low=0.0, high=65535.0)
    method = Colorization(encoder, resolution=8, hidden=16)
    deep = [picture(i).astype(np.uint16) * 257 for i in range(4)]
    method.prepare(prepared(deep))
    batch = batch_of(method, deep)
    assert batch["lightness"].dtype == torch.uint16
    assert torch.isfinite(terms_of(method, batch)["loss"])
    with torch.no_grad():
        assert all(array.dtype == np.uint8 for array in method.outputs(batch).values())
    shallow = made()
    shallow.prepare(prepared([picture(i) for i in range(4)]))
    torch.testing.assert_close(
        method.bins.prior, shallow.bins.prior, atol=2e-3, rtol=0
    )  # 8 bits are rounded when resized


def test_loss_writes_nothing_and_state_is_the_prior() -> None:
    method = made()
    batch = batch_of(method, [picture(0), picture(1)])
    projections = {**method.project(batch), **method.targets(batch)}
    before = copy.deepcopy(method.state_dict())
    method.loss(projections, batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    resumed = made()
    method.prepare(prepared([picture(0), picture(5)]))
    assert not torch.equal(method.bins.prior, resumed.bins.prior)
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(method.loss(projections, batch)["loss"], resumed.loss(projections, batch)["loss"])


@pytest.mark.parametrize(("encoder", "spacing"), [("test_resnet", 10), ("test_resnet", 20), ("test_vit", 10)])
def test_eight_pictures_reach_nine_tenths_of_the_gap(encoder: str, spacing: int) -> None:
    images = [picture(i) for i in range(8)]
    method = made(encoder, spacing=spacing, hidden=64)
    method.prepare(prepared(images))
    batch = batch_of(method, images)
    codes = method.targets(batch)
    weights = rebalanced(method.bins.prior, method.uniform)[codes["nearest"][:, 0]]
    chance = float(weights.mean()) * log(len(method.bins))  # of these very pictures, and logits that say nothing
    floor = float((weights * -(codes["shares"] * codes["shares"].log()).sum(dim=1)).mean())
    assert floor > 0.9 * float(weights.mean()) * method.floor(8)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    for _ in range(300):
        loss = terms_of(method, batch)["loss"]
        if loss.item() <= chance - 0.9 * (chance - floor):
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"{loss.item():.3f}, chance {chance:.3f}, floor {floor:.3f}")
