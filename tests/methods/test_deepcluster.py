"""DeepCluster: its numbers, what an epoch's start does, its order and its head, and pictures that are all the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_of, one_step
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from selfsight import distributed, methods
from selfsight.errors import RecipeError
from selfsight.methods.base import Epoch, Facts
from selfsight.methods.deepcluster import DeepCluster
from selfsight.nn.encoder import Encoder
from selfsight.training.optimizers import build

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["deepcluster"]
SETTINGS = {"clusters": 4, "components": 8, "reassign": 1, "head_rate": 10.0, "count": 40}


def made(**settings: object) -> DeepCluster:
    torch.manual_seed(0)
    return DeepCluster(TinyEncoder(), **{**SETTINGS, **settings})


def resolved(count: int, size: int = 32, batch: int = 256, **settings: object) -> dict[str, object]:
    found = DeepCluster.resolve(settings, Facts(count=count, batch=batch, size=size, channels=3, classes=0))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def epoch_of(features: Tensor, number: int = 0, forgotten: list[nn.Module] | None = None) -> Epoch:
    forget = (lambda module: None) if forgotten is None else forgotten.append
    return Epoch(number, 0, 8, torch.full((len(features),), -1), lambda: features, forget)


def separable(kinds: Tensor, seed: int = 0) -> Tensor:
    """Features (N, 32) of pictures of four kinds, far apart."""
    generator = torch.Generator().manual_seed(seed)
    return 10 * torch.randn(4, 32, generator=generator)[kinds] + torch.randn(len(kinds), 32, generator=generator)


KINDS = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(5))


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("deepcluster") is DeepCluster
    assert set(methods.settings(DeepCluster)) == {*SETTINGS, "augmentation"}


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (1_281_167, 224, {"clusters": 10000, "components": 256, "reassign": 1, "head_rate": 1.0}),
        (50_000, 32, {"clusters": 500, "components": 256, "reassign": 1, "head_rate": 10.0}),
        (2_000, 32, {"clusters": 100, "components": 200, "reassign": 15, "head_rate": 10.0}),
        (256, 32, {"clusters": 12, "components": 25, "reassign": 100, "head_rate": 10.0}),
    ],
)
def test_how_many_pictures_decide_the_numbers(count: int, size: int, expected: dict[str, int]) -> None:
    assert resolved(count, size) == {**expected, "count": count}
    own = {"clusters": 7, "reassign": 1000}
    assert resolved(count, size, **own) == {"components": expected["components"], "head_rate": 1.0, "count": count}


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(RecipeError, match="300 training pictures cannot fill 301 clusters"):
        resolved(300, clusters=301)
    with pytest.raises(RecipeError, match="leave it out"):
        DeepCluster.resolve({"count": 20}, Facts(count=300, batch=8, size=32, channels=3, classes=0))
    for name in SETTINGS:
        with pytest.raises(RecipeError, match="automatic"):
            made(**{name: None})


def test_an_epoch_begins_with_clusters_and_a_new_head() -> None:
    method, forgotten = made(), []
    before = method.head.weight.clone()
    method.on_epoch_start(epoch_of(separable(KINDS), 5, forgotten))  # which draws a start in each kind
    found = method.partition.assignments[0]
    pairs = {(kind, cluster) for kind, cluster in zip(KINDS.tolist(), found.tolist(), strict=True)}
    assert len(pairs) == 4, "each kind is one cluster"
    assert forgotten == [method.head]
    assert not torch.equal(method.head.weight, before)
    assert method.head.weight.std().item() == pytest.approx(0.01, rel=0.3)
    assert method.head.bias.abs().max() == 0
    told = {name: float(term) for name, term in method.partition.terms().items()}
    assert told["nmi"] == 0, "there was one cluster before"
    assert told["clusters"] == 4
    assert told["largest"] == pytest.approx(KINDS.bincount().max() / 40)


def test_each_epoch_has_a_seed_of_its_own_and_nothing_else_matters() -> None:
    features = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    first, second, again = made(), made(), made()
    first.on_epoch_start(epoch_of(features))
    second.on_epoch_start(epoch_of(features, number=1))
    torch.rand(3)
    again.on_epoch_start(epoch_of(features))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.partition.assignments, second.partition.assignments)
    assert not torch.equal(first.head.weight, second.head.weight)
    other = [replace(epoch_of(features, number=number), seed=seed).generator() for seed, number in ((0, 1), (1, 0))]
    assert torch.rand(1, generator=other[0]) != torch.rand(1, generator=other[1])
    again.on_epoch_start(epoch_of(features, number=1))
    assert 0 < float(again.partition.terms()["nmi"]) < 1, "compared with the clusters of the epoch before"


def test_every_rank_has_the_clusters_and_the_head_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """K-means on another machine may round another way, and then it draws other numbers for the head too."""
    copied: set[int] = set()
    monkeypatch.setattr(distributed, "copy_first", lambda buffer: copied.add(buffer.data_ptr()))
    method = made()
    method.on_epoch_start(epoch_of(separable(KINDS)))
    assert {method.partition.assignments.data_ptr(), method.head.weight.data_ptr()} <= copied


def test_clusters_may_stand_for_several_epochs() -> None:
    method = made(reassign=3)
    method.on_epoch_start(epoch_of(separable(KINDS)))
    state = copy.deepcopy(method.state_dict())
    changed = []
    for number in range(1, 7):
        method.on_epoch_start(epoch_of(separable(KINDS), number))
        changed.append(not torch.equal(state["head.weight"], method.head.weight))
        state = copy.deepcopy(method.state_dict())
    assert changed == [False, False, True, False, False, True]


def test_every_cluster_is_seen_equally_often() -> None:
    """The sampler of the check values: four each, then cut to the number of pictures."""
    example = CHECK["sampler"]["example"]
    method = made(count=example["N"])
    sizes = torch.tensor(example["cluster_sizes"])
    method.partition.assignments[0] = torch.arange(4).repeat_interleave(sizes)
    for length in (example["N"], example["n_per"] * 3):
        epoch = Epoch(0, 0, 1, torch.zeros(length), lambda: torch.zeros(0), lambda module: None)
        seen = method.partition.assignments[0, method.order(epoch)].bincount(minlength=4)
        assert seen.sum() == length
        assert seen.max() <= example["n_per"]
    assert seen.tolist() == [example["n_per"], example["n_per"], 0, example["n_per"]]


def test_loss_is_cross_entropy_with_the_pictures_own_cluster() -> None:
    method = made().eval()
    batch = {**batch_of(6), "index": torch.tensor([3, 39, 3, 0, 17, 20])}
    method.on_epoch_start(epoch_of(separable(KINDS)))
    logits = method.head(method.encoder(batch["views"][:, 0]))
    expected = cross_entropy(logits, method.partition.assignments[0, [3, 39, 3, 0, 17, 20]])
    terms = method.loss(method.project(batch), batch)
    torch.testing.assert_close(terms["loss"], expected)
    assert set(terms) == {"loss", "nmi", "clusters", "largest"}
    blind = method.loss({"logits": torch.zeros(6, 4)}, batch)["loss"].item()
    assert blind == pytest.approx(method.chance(6), rel=1e-6)


def test_the_head_has_no_momentum() -> None:
    method = made()
    optimizer = build(method.groups(), DeepCluster.defaults(32), lr=0.1)
    momentum = {id(p): group["momentum"] for group in optimizer.param_groups for p in group["params"]}
    assert {momentum[id(p)] for p in method.head.parameters()} == {0.0}
    assert {momentum[id(p)] for p in method.encoder.parameters()} == {0.9}
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rate[id(p)] for p in method.head.parameters()} == {1.0}


def test_pictures_that_are_all_the_same_are_one_cluster() -> None:
    """No crash, finite numbers, and terms that say so: `clusters` 1, `largest` 1."""
    method, batch = made(), batch_of(8)
    batch["views"][:] = 128
    optimizer = build(method.groups(), DeepCluster.defaults(32), lr=0.1)
    for number in range(3):
        features = method.encoder(batch["views"][:1, 0]).detach().expand(40, -1)
        epoch = epoch_of(features, number)
        method.on_epoch_start(epoch)
        assert method.order(epoch).unique().numel() > 20
        assert np.isfinite(one_step(method, batch, optimizer))
    told = {name: float(term) for name, term in method.partition.terms().items()}
    assert told == {"nmi": 1.0, "clusters": 1.0, "largest": 1.0}


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint16)])
def test_any_channels_and_depth(channels: int, dtype: type) -> None:
    encoder = Encoder("test_resnet", size=32, channels=channels, high=float(np.iinfo(dtype).max))
    method = DeepCluster(encoder, **SETTINGS)
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype=dtype)
    view = method.views(32)(picture, np.random.default_rng(1))["views"]
    assert (view.shape, view.dtype) == ((1, 32, 32, channels), dtype)
    batch = {"views": torch.from_numpy(view)[None].expand(4, -1, -1, -1, -1), "index": torch.arange(4)}
    method.partition.replace(torch.zeros(1, 40, dtype=torch.int64))
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])
