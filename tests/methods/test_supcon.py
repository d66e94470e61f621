"""SupCon: its recipe and heads, what labels change and what it says without them, and eight pictures by heart."""

from __future__ import annotations

import pickle
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pictures
from method_parts import TinyEncoder, batch_of, one_step
from torch.nn.functional import normalize

import selfsight
from selfsight import cli, methods
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.supcon import FORMS, classes_of, partnered
from selfsight.methods.base import Facts, Prepared
from selfsight.methods.supcon import SupCon
from selfsight.nn.encoder import Encoder
from selfsight.training.values import checked, kinds_of_settings
from selfsight.views import recipes

PAIRS = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1])


def made(**settings: object) -> SupCon:
    torch.manual_seed(0)
    return SupCon(TinyEncoder(), **settings)


def facts(*per_class: int, count: int = 100) -> Facts:
    return Facts(count=count, batch=16, size=32, channels=3, classes=len(per_class), per_class=per_class)


def resolved(**settings: object) -> dict[str, object]:
    return {name: value for name, (value, _) in SupCon.resolve(settings, facts(50, 50)).items()}


def said(labels: list[int], batch: int = 2) -> list[str]:
    sentences: list[str] = []
    made().prepare(Prepared(0, torch.tensor(labels), lambda: iter(()), lambda: torch.empty(0), sentences.append, batch))
    return sentences


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("supcon") is SupCon
    own = {"num_views", "temperature", "base_temperature", "width", "head", "form", "contrast_mode", "augmentation"}
    assert set(methods.settings(SupCon)) == own
    assert all(row["note"] for row in methods.describe("supcon")["settings"])


@pytest.mark.parametrize(("size", "epochs"), [(32, 1000), (96, 1000), (224, 350)])
def test_the_rate_is_the_released_one(size: int, epochs: int) -> None:
    training = SupCon.defaults(size)
    assert (training.optimizer, training.epochs, training.weight_decay, training.warmup) == ("sgd", epochs, 1e-4, 0.0)
    assert training.rate(1024)[0] == 0.5


def test_the_base_temperature_is_the_temperature() -> None:
    assert resolved() == {"base_temperature": 0.1}
    assert resolved(temperature=0.5) == {"base_temperature": 0.5}
    assert resolved(base_temperature=0.07) == {}


def test_views_are_the_released_ones() -> None:
    for size in (32, 224):
        recipe = recipes.get("supcon", size)
        assert (recipe.area, recipe.jitter) == ((0.2, 1.0), (0.4, 0.4, 0.4, 0.1))
        assert (recipe.jitter_chance, recipe.grey, recipe.flip, recipe.blur) == (0.8, 0.2, 0.5, 0.0)


@pytest.mark.parametrize(
    "settings", [{"num_views": 1}, {"head": "mpl"}, {"form": "out"}, {"contrast_mode": "two"}, {"num_views": 0}]
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        made(**settings)


def test_what_has_nothing_to_be_told_from_is_refused() -> None:
    with pytest.raises(RecipeError, match="num_views cannot be 1: it must be a whole number from 2 on"):
        checked("num_views", 1, kinds_of_settings(SupCon)["num_views"])
    with pytest.raises(RecipeError, match="all training pictures have the same label"):
        SupCon.resolve({}, facts(0, 100))
    for per_class in ((), (99, 1), (99,), (1,) * 100):  # none labelled, two classes, one unlabelled, all different
        SupCon.resolve({}, facts(*per_class))


def test_it_says_when_it_is_simclr() -> None:
    (sentence,) = said([-1, -1, -1])
    assert (
        sentence == "no training picture has a label: supcon is SimCLR then, as each picture finds its own views only"
    )
    (sentence,) = said([-1, 4, 2])
    assert sentence.startswith("no two training pictures share a label")
    assert said([-1, 4, 4]) == []


def test_it_says_when_hardly_a_picture_meets_its_label() -> None:
    """5,000 products of 4 pictures each: as often as batches drawn at random have it."""
    products = [number // 4 for number in range(20_000)]
    (sentence,) = said(products, batch=128)
    assert sentence.startswith("in a batch of 128 about 1.9% of the pictures meet another with their label: supcon is")
    assert sentence.endswith("give a larger --batch, or take --method pull_push")
    assert said(products, batch=1024) == []
    generator, labels = torch.Generator().manual_seed(0), torch.tensor(products[:400] + [-1] * 100)
    batches = [labels[torch.randperm(500, generator=generator)[:64]] for _ in range(300)]
    found = np.mean([float((classes_of(one)[1] > 1).float().mean()) for one in batches])
    assert partnered(labels, 64) == pytest.approx(found, rel=0.03)


@pytest.mark.parametrize(
    ("head", "count"), [("mlp", 512 * 512 + 512 + 512 * 128 + 128), ("linear", 512 * 128 + 128)]
)  # section 1.5 of the paper's appendix: no batch norm in either
def test_heads(head: str, count: int) -> None:
    method = SupCon(TinyEncoder(512), head=head)
    assert sum(p.numel() for p in method.projector.parameters()) == count
    rows = method.project(batch_of(4))["views"]
    assert rows.shape == (4, 2, 128)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4, 2))


@pytest.mark.parametrize(("channels", "kind"), [(3, np.uint8), (1, np.uint16), (5, np.uint16), (4, np.uint8)])
@pytest.mark.parametrize("number", [2, 4])
def test_views_of_any_channels_are_light_and_feed_the_loss(channels: int, kind: type, number: int) -> None:
    encoder = Encoder("test_resnet", size=32, channels=channels, high=float(np.iinfo(kind).max))
    method = SupCon(encoder, num_views=number)
    views = method.views(32)
    assert len(pickle.dumps(views)) < 10_000
    generator = np.random.default_rng(0)
    images = generator.integers(0, np.iinfo(kind).max, (8, 70, 50, channels), dtype=kind, endpoint=True)
    stacked = np.stack([views(image, generator)["views"] for image in images])
    assert stacked.shape == (8, number, 32, 32, channels)
    batch = {"views": torch.from_numpy(stacked), "label": PAIRS}
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])


def test_without_labels_it_is_simclr() -> None:
    method = made().eval()
    batch = batch_of(6)
    rows = method.project(batch)["views"]
    terms = method.loss({"views": rows}, batch)
    first, second = rows.unbind(dim=1)
    torch.testing.assert_close(terms["loss"], nt_xent(first, second, temperature=0.1))
    torch.testing.assert_close(terms["alignment"], (first - second).square().sum(dim=1).mean().detach())
    assert terms["partnered"] == 0


@pytest.mark.parametrize("number", [2, 3])
def test_terms_of_labelled_pictures(number: int) -> None:
    """Six of eight have a label, five of them share it; alignment is the mean over all pairs of views."""
    method = made(num_views=number)
    labels = torch.tensor([0, 0, 1, 1, 1, 5, -1, -1])
    rows = normalize(torch.randn(8, number, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    terms = method.loss({"views": rows}, {"label": labels})
    assert terms["partnered"] == 5 / 8
    pairs = [(rows[:, a] - rows[:, b]).square().sum(dim=1).mean() for a in range(number) for b in range(a)]
    torch.testing.assert_close(terms["alignment"], torch.stack(pairs).mean())
    unlabelled = method.loss({"views": rows}, {"label": torch.full((8,), -1)})
    assert terms["loss"] != unlabelled["loss"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("base", [None, 0.07])
def test_chance_and_floor_are_the_loss_of_what_they_say(form: str, number: int, base: float | None) -> None:
    method, labels = made(form=form, num_views=number, base_temperature=base), {"label": torch.arange(8)}
    same = normalize(torch.ones(8, number, 16, dtype=torch.float64), dim=-1)
    assert method.loss({"views": same}, labels)["loss"].item() == pytest.approx(method.chance(8))
    corners = normalize(torch.eye(8, dtype=torch.float64) - 1 / 8, dim=-1)
    simplex = corners[:, None].expand(-1, number, -1)
    assert method.loss({"views": simplex}, labels)["loss"].item() == pytest.approx(method.floor(8))


@pytest.mark.parametrize(
    "settings", [{}, {"num_views": 3}, {"form": "inside"}, {"head": "linear", "contrast_mode": "one"}]
)
def test_classes_are_learned_by_heart(settings: dict[str, object]) -> None:
    """Four classes of two pictures: nine tenths of the way to where each class is a point, at a simplex's corners."""
    method = made(**settings)
    number, batch = method.num_views, batch_of(8) | {"label": torch.arange(8) // 2}
    if number > 2:
        batch["views"] = batch["views"][:, [0, 1, 0]]
    chance = log(8 * number - 1)
    floor = log(2 * number - 1 + 6 * number * exp(-(1 + 1 / 3) / 0.1))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    losses = [one_step(method, batch, optimizer) for _ in range(200)]
    assert 0.9 <= (chance - losses[-1]) / (chance - floor) <= 1 + 1e-6
    rows = method.project(batch)["views"].detach()
    assert (rows[0, 0] @ rows[1, 1]) > 0.9 > 0.5 > (rows[0, 0] @ rows[2, 1])


def trained(*words: object, out: Path) -> int:
    """`selfsight train WORDS` for four steps; its exit code."""
    line = "--method supcon --encoder test_resnet --size 32 --batch 16 --precision fp32 --threads 1 --for 4steps --out"
    return cli.main(["train", *map(str, words), *line.split(), str(out)])


def test_a_labelled_and_an_unlabelled_folder_train_together(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_pictures(tmp_path / "plain", count=48, side=44) / "china"
    assert trained(photos, plain, "--set", "num_views=3", out=tmp_path / "run") == 0
    assert "SimCLR" not in capsys.readouterr().err
    manifest = Manifest.load(tmp_path / "run" / "manifest.parquet")
    assert len(manifest.classes) == 2
    assert (manifest.labels == -1).sum() == 24
    shares = selfsight.Run(tmp_path / "run").metrics["partnered"].drop_null().to_pylist()
    assert len(shares) == 4
    assert all(0 < share < 1 for share in shares)


def test_an_unlabelled_folder_is_told_to_be_simclr_and_one_view_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(photos / "china", out=tmp_path / "run") == 0
    assert "no training picture has a label: supcon is SimCLR" in capsys.readouterr().err
    assert trained(photos, "--set", "num_views=1", out=tmp_path / "other") == 2
    assert "num_views cannot be 1: it must be a whole number from 2 on" in capsys.readouterr().err
    assert not (tmp_path / "other" / "recipe.yaml").exists()
