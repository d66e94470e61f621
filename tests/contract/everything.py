"""A method that uses every hook there is, so that every seam is tested: it is not meant to learn well.

A momentum teacher, a queue, a mask, `prepare`, an order by clusters, a head that is forgotten each epoch, two parameter
groups, batch norm, and a method that is trained before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from selfsight import distributed
from selfsight.data import order
from selfsight.losses.info_nce import info_nce
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Epoch, Facts, Group, Method, Prepared, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.queue import Queue
from selfsight.nn.teacher import follow, frozen_copy
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view


class MaskedViews:
    """Two views, and for each picture a 4x4 mask of what is hidden."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        return {**self.views(image, generator), "hidden": (generator.random((4, 4)) < 0.25).astype(np.int64)}


@final
class Everything(Method):
    """Tell a picture's key from the queue, its cluster from the others, and agree with the method before."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        before: Method,
        count: int | None = None,  # training pictures
        negatives: int = 32,
        clusters: int = 4,
        teacher_momentum: float = 0.9,
        temperature: float = 0.2,
        augmentation: str = "simclr",
    ) -> None:
        super().__init__(encoder)
        self.count, self.negatives, self.clusters = count, negatives, clusters
        self.teacher_momentum, self.temperature, self.augmentation = teacher_momentum, temperature, augmentation
        self.projector = mlp([encoder.width, encoder.width, 16], norm=True)
        self.token = nn.Parameter(torch.zeros(encoder.channels))
        self.head = nn.Linear(encoder.width, clusters)
        self.teacher = frozen_copy(nn.Sequential(encoder, self.projector))
        self.guide = frozen_copy(before.product).eval()
        self.queue = Queue(negatives, 16)
        self.register_buffer("assignments", torch.zeros(count or 1, dtype=torch.int64))
        self.register_buffer("average", torch.zeros(encoder.channels))
        self.register_buffer("usage", torch.zeros(clusters, dtype=torch.int64))

    @classmethod
    def defaults(cls, size: int) -> Training:
        return Training("sgd", lr=0.05, batch=16, epochs=4, warmup=0.5, clip=5.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        return {"count": (facts.count, "one assignment for each picture")}

    @classmethod
    def first(cls, settings: Mapping[str, Any]) -> str | None:
        return "simclr"

    def train(self, mode: bool = True) -> Everything:
        super().train(mode)
        self.guide.eval()
        return self

    def prepare(self, data: Prepared) -> None:
        sums = [torch.from_numpy(image.reshape(-1, image.shape[2]).mean(axis=0)) for image in data.images()]
        self.average.copy_(torch.stack(sums).mean(dim=0))

    def order(self, epoch: Epoch) -> Tensor:
        return order.balanced(self.assignments, epoch.length, epoch.seed, epoch.number)

    def views(self, size: int) -> Views:
        return MaskedViews(multi_view(self.augmentation, size))

    def project(self, batch: Batch) -> Projections:
        pixels = self.encoder.normalised(batch["views"][:, 0])
        hidden = interpolate(batch["hidden"][:, None].float(), pixels.shape[-1], mode="nearest")
        filler = (self.average * self.encoder.scale - self.encoder.shift + self.token)[:, None, None]
        embedding = self.encoder(pixels * (1 - hidden) + hidden * filler)
        return {"query": unit(self.projector(embedding)), "cluster": self.head(embedding), "embedding": embedding}

    def targets(self, batch: Batch) -> Projections:
        return {"key": unit(self.teacher(batch["views"][:, 1])), "guide": self.guide(batch["views"][:, 1])}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        contrast = info_nce(projections["query"], projections["key"], self.queue.keys, temperature=self.temperature)
        cluster = cross_entropy(projections["cluster"], self.assignments[batch["index"]])
        agree = (unit(projections["embedding"]) - unit(projections["guide"])).square().sum(dim=1).mean()
        total = contrast + cluster + 0.1 * agree * (1 - self.progress) + 0.01 * self.usage.float().std() * cluster
        return {"loss": total, "contrast": contrast, "cluster": cluster}

    def on_epoch_start(self, epoch: Epoch) -> None:
        features = epoch.features()
        centres = features[: self.clusters]
        self.assignments.copy_((unit(features) @ unit(centres).T).argmax(dim=1))
        generator = torch.Generator().manual_seed(epoch.seed + epoch.number)
        with torch.no_grad():
            self.head.weight.normal_(0, 0.01 * (2 - self.progress), generator=generator)
            self.head.bias.zero_()
        epoch.forget(self.head)

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        follow(self.teacher, nn.Sequential(self.encoder, self.projector), self.teacher_momentum)
        self.queue.enqueue(distributed.gather(projections["key"]))
        assigned = self.assignments[distributed.gather(batch["index"])]
        self.usage += torch.bincount(assigned, minlength=self.clusters)

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        views = batch["views"][:, 0]
        hidden = interpolate(batch["hidden"][:, None].float(), views.shape[1], mode="nearest")[:, 0, ..., None]
        return {"hidden": torch.where(hidden.bool(), 0, views).numpy()}

    def groups(self) -> list[Group]:
        trunk = [*self.encoder.parameters()]
        heads = [*self.projector.parameters(), *self.head.parameters(), self.token]
        return [Group(trunk), Group(heads, lr=2.0, decay=0.0)]

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing: log(1 + K) for the key, log C for the cluster."""
        return log(1 + self.negatives) + log(self.clusters)

    def floor(self, batch: int) -> float:
        """The loss at rest and at progress 1: clusters told apart, B pictures at a simplex's corners (see MoCo)."""
        others = self.negatives * (1 - 1 / batch) * exp(-(1 + 1 / (batch - 1)) / self.temperature)
        return log(1 + self.negatives / batch + others)
