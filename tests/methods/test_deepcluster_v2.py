"""DeepCluster-v2: its numbers, what it remembers and clusters, frozen prototypes, pictures that are all the same."""

from __future__ import annotations

import copy
from math import log

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_of, one_step
from torch import Tensor
from torch.nn.functional import normalize

from selfsight import methods
from selfsight.clusters.kmeans import spherical, start
from selfsight.errors import RecipeError
from selfsight.losses.cluster_prediction import prototype_prediction
from selfsight.methods.base import Epoch, Facts, Prepared
from selfsight.methods.deepcluster_v2 import DeepClusterV2
from selfsight.nn.encoder import Encoder

SETTINGS = {"clusters": 4, "count": 40}


def made(**settings: object) -> DeepClusterV2:
    torch.manual_seed(0)
    return DeepClusterV2(TinyEncoder(), **{**SETTINGS, **settings})


def prepared(method: DeepClusterV2, seed: int = 0) -> DeepClusterV2:
    features = torch.randn(method.count, 32, generator=torch.Generator().manual_seed(seed)).abs()
    method.prepare(Prepared(0, torch.full((method.count,), -1), lambda: iter(()), lambda: features))
    return method


def epoch_of(number: int = 0) -> Epoch:
    def none() -> Tensor:
        raise AssertionError("nothing is extracted anew")

    return Epoch(number, 0, 8, torch.full((40,), -1), none, lambda module: None)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("deepcluster_v2") is DeepClusterV2
    expected = {*SETTINGS, "clusterings", "width", "temperature", "skip_first", "augmentation"}
    assert set(methods.settings(DeepClusterV2)) == expected


def test_numbers_of_clusters() -> None:
    def resolved(count: int, **settings: object) -> dict[str, object]:
        found = DeepClusterV2.resolve(settings, Facts(count=count, batch=128, size=32, channels=3, classes=0))
        return {name: value for name, (value, _) in found.items()}

    assert resolved(10**6) == {"clusters": 3000, "count": 10**6}
    assert resolved(50_000)["clusters"] == 2500
    with pytest.raises(RecipeError, match="cannot fill 50 clusters"):
        resolved(49, clusters=50)
    for name in SETTINGS:
        with pytest.raises(RecipeError, match="not set"):
            made(**{name: None})


def test_the_memory_is_filled_before_the_first_epoch() -> None:
    method = made()
    before = copy.deepcopy(method.state_dict())
    prepared(method)
    rows = method.memory.rows
    torch.testing.assert_close(rows.norm(dim=2), torch.ones(2, 40))
    assert torch.equal(rows[0], rows[1])
    off = rows[0] @ rows[0].T - torch.eye(40)
    assert off.mean() < 0.5, "pictures do not all point in one direction"
    moved = [name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved == ["memory.rows"], "the running statistics stay as they were"


def test_each_clustering_is_of_its_own_view() -> None:
    method = prepared(made())
    method.memory.rows[1] = normalize(torch.randn(40, 128, generator=torch.Generator().manual_seed(9)))
    method.on_epoch_start(epoch_of(3))
    generator = epoch_of(3).generator()
    for h in range(3):
        rows = method.memory.rows[h % 2]
        centroids, assignments = spherical(rows, start(rows, 4, generator), iterations=10)
        assert torch.equal(method.prototypes[h], centroids)
        assert torch.equal(method.partition.assignments[h], assignments)
    torch.testing.assert_close(method.prototypes.norm(dim=2), torch.ones(3, 4))


def test_prototypes_are_frozen_within_an_epoch() -> None:
    method = prepared(made())
    method.on_epoch_start(epoch_of())
    assert not method.prototypes.requires_grad
    trained = {id(p) for group in method.groups() for p in group.parameters}
    assert trained == {id(p) for part in (method.encoder, method.projector) for p in part.parameters()}
    frozen = copy.deepcopy({**method.partition.state_dict(), "prototypes": method.prototypes})
    one_step(method, batch_of(8), torch.optim.SGD(method.parameters(), lr=0.1))
    assert all(torch.equal(frozen[name], tensor) for name, tensor in method.partition.state_dict().items())
    assert torch.equal(frozen["prototypes"], method.prototypes)


def test_loss_is_over_both_views_and_all_clusterings() -> None:
    method = prepared(made()).eval()
    method.on_epoch_start(epoch_of())
    batch = {**batch_of(5), "index": torch.tensor([4, 4, 0, 39, 17])}
    views = torch.stack([normalize(method.projector(method.encoder(batch["views"][:, v]))) for v in (0, 1)], dim=1)
    clusters = method.partition.assignments[:, batch["index"]]
    expected = prototype_prediction(views, method.prototypes, clusters, temperature=0.1)
    torch.testing.assert_close(method.loss(method.project(batch), batch)["loss"], expected)


def test_a_step_remembers_both_views_of_its_pictures() -> None:
    method = prepared(made())
    method.on_epoch_start(epoch_of())
    before = method.memory.rows.clone()
    batch = {**batch_of(4), "index": torch.tensor([30, 2, 30, 11])}
    projections = {name: tensor.detach() for name, tensor in method.project(batch).items()}
    method.on_step_end(projections, batch)
    for row, index in ((1, 2), (2, 30), (3, 11)):  # of 30 the second
        assert torch.equal(method.memory.rows[:, index], projections["views"][row])
    others = [index for index in range(40) if index not in (30, 2, 11)]
    assert torch.equal(method.memory.rows[:, others], before[:, others])


def test_the_first_epoch_can_be_skipped() -> None:
    method = prepared(made(skip_first=True))
    method.on_epoch_start(epoch_of())
    before = method.memory.rows.clone()
    assert one_step(method, batch_of(8), torch.optim.SGD(method.parameters(), lr=0.1)) == 0
    assert not torch.equal(method.memory.rows, before)
    method.on_epoch_start(epoch_of(1))
    assert one_step(method, batch_of(8)) > 0


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method, batch = made(), batch_of(4)
    blind = method.loss({"views": torch.zeros(4, 2, 128)}, batch)["loss"]
    assert blind == 0, "nobody is assigned yet"
    method.partition.replace(torch.arange(40).remainder(4).expand(3, -1))
    blind = method.loss({"views": torch.zeros(4, 2, 128)}, batch)["loss"].item()
    assert blind == pytest.approx(method.chance(4), rel=1e-6) == pytest.approx(log(4))
    simplex = torch.nn.functional.pad(normalize(torch.eye(4) - 1 / 4, dim=1), (0, 124))
    method.prototypes.copy_(simplex.expand(3, -1, -1))
    best = method.loss({"views": simplex[:, None].expand(-1, 2, -1)}, batch)["loss"].item()
    assert best == pytest.approx(method.floor(4), abs=1e-6)


def test_pictures_that_are_all_the_same_cannot_be_told_apart() -> None:
    """Rounding is all there is to cluster: no crash, prototypes that are one, and a loss that stays at chance."""
    method, batch = made(), batch_of(8)
    batch["views"][:] = 128
    features = method.encoder(batch["views"][:1, 0]).detach().expand(40, -1)
    method.prepare(Prepared(0, torch.full((40,), -1), lambda: iter(()), lambda: features))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for number in range(3):
        method.on_epoch_start(epoch_of(number))
        for first in range(0, 40, 8):
            loss = one_step(method, {**batch, "index": torch.arange(first, first + 8)}, optimizer)
            assert loss == pytest.approx(method.chance(8), abs=1e-3)
    assert torch.isfinite(method.prototypes).all()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (5, np.uint16)])
def test_any_channels_and_depth(channels: int, dtype: type) -> None:
    encoder = Encoder("test_resnet", size=32, channels=channels, high=float(np.iinfo(dtype).max))
    method = DeepClusterV2(encoder, **SETTINGS)
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype=dtype)
    view = method.views(32)(picture, np.random.default_rng(1))["views"]
    assert (view.shape, view.dtype) == ((2, 32, 32, channels), dtype)
    batch = {"views": torch.from_numpy(view)[None].expand(4, -1, -1, -1, -1), "index": torch.arange(4)}
    method.partition.replace(torch.zeros(3, 40, dtype=torch.int64))
    assert torch.isfinite(method.loss(method.project(batch), batch)["loss"])
