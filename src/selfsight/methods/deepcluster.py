"""DeepCluster: cluster the pictures by what the network sees in them, teach it to tell the clusters, begin again.

Caron, Bojanowski, Joulin & Douze 2018, "Deep Clustering for Unsupervised Learning of Visual Features", arXiv
1807.05520, with the released code. `nmi` compares a clustering with the one before and rises towards 0.8 in a healthy
run; few `clusters` or a `largest` share near 1 are the trivial solution. Where clusters follow colour alone, with
`--views simclr` they cannot; nor with the paper's Sobel filters, which would have to be kept ever after.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log
from typing import Any, final

import torch
from torch import Tensor, nn

from selfsight import distributed
from selfsight.clusters.kmeans import kmeans, start
from selfsight.clusters.partition import Partition, automatic
from selfsight.clusters.whitening import whitened
from selfsight.data import order
from selfsight.errors import RecipeError
from selfsight.losses.cluster_prediction import cluster_prediction
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Epoch, Facts, Group, Method, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Count, Positive, Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here numbers for small data sets
ITERATIONS = 20  # of k-means, released code
LEAST_STEPS = 100  # for a new head, ours: before it has learned something it teaches the encoder nothing


@final
class DeepCluster(Method):
    """Tell which cluster a picture fell into when all were last clustered."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        clusters: Several | None = None,  # K; code 10000 = 10 x the classes of ImageNet, here at most 500 up to 96 px
        components: Count | None = None,  # of the PCA, at most half of the encoder's width; code 256
        reassign: Count | None = None,  # epochs from one clustering to the next; code 1
        head_rate: Positive | None = None,  # times the rate, of the head; code 1, here momentum where steps are few
        augmentation: str = "zoom-flip",  # name of a view recipe; code: crop and flip
        count: int | None = None,  # training pictures, always automatic
    ) -> None:
        super().__init__(encoder)
        if clusters is None or components is None or reassign is None or head_rate is None or count is None:
            raise RecipeError("deepcluster: some settings are automatic and not set; take DeepCluster.resolve's")
        self.clusters, self.components, self.reassign, self.head_rate = clusters, components, reassign, head_rate
        self.augmentation, self.count = augmentation, count
        self.head = nn.Linear(encoder.width, clusters)
        self.partition = Partition(count, clusters)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """The released code's, for AlexNet on ImageNet (paper: 500 epochs); its rate is constant, here a cosine."""
        return Training("sgd", lr=0.05, lr_batch=256, weight_decay=1e-5, batch=256, epochs=200, quick=0.8)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Numbers that suit so many pictures. RecipeError when they are fewer than the clusters."""
        steps = facts.count // facts.batch  # in an epoch
        epochs = settings.get("reassign") or ceil(LEAST_STEPS / steps)
        found: dict[str, tuple[Any, str]] = {
            **automatic(500 if facts.size <= SMALL else 10000, facts.count, settings),
            "components": (max(2, min(256, facts.count // 10)), "published 256, at most one for ten pictures"),
            "reassign": (epochs, "published" if epochs == 1 else f"{LEAST_STEPS} steps for a head to learn in"),
            "head_rate": (1.0, "published") if steps * epochs >= 10 * LEAST_STEPS else (10.0, "its steps are few"),
        }
        return {name: value for name, value in found.items() if settings.get(name) is None}

    def on_epoch_start(self, epoch: Epoch) -> None:
        """Cluster the whitened features of all pictures with a new seed, and begin with a new head."""
        if epoch.number % self.reassign:
            return
        generator = epoch.generator()
        rows = unit(whitened(epoch.features(), min(self.components, self.encoder.width // 2))).to(self.head.weight)
        _, found = kmeans(rows, start(rows, self.clusters, generator), iterations=ITERATIONS, generator=generator)
        self.partition.replace(found[None])
        with torch.no_grad():
            self.head.weight.copy_(torch.empty(self.head.weight.shape).normal_(0, 0.01, generator=generator))
            distributed.copy_first(self.head.weight)  # k-means may have drawn more on another machine
            self.head.bias.zero_()
        epoch.forget(self.head)

    def order(self, epoch: Epoch) -> Tensor:
        """Every cluster equally often, so that a large one gains nothing."""
        return order.balanced(self.partition.assignments[0], epoch.length, epoch.seed, epoch.number)

    def views(self, size: int) -> Views:
        """One draw."""
        return multi_view(self.augmentation, size, views=1)

    def project(self, batch: Batch) -> Projections:
        """A logit for each cluster."""
        return {"logits": self.head(self.encoder(batch["views"][:, 0]))}  # (B, K)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy with the cluster of each picture."""
        clusters = self.partition.assignments[0, batch["index"]]  # (B,)
        return {"loss": cluster_prediction(projections["logits"], clusters), **self.partition.terms()}

    def groups(self) -> list[Group]:
        """The head learns without momentum, as in the released code."""
        trunk = [p for p in self.encoder.parameters() if p.requires_grad]
        return [Group(trunk), Group([*self.head.parameters()], lr=self.head_rate, momentum=0.0)]

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing: log K."""
        return log(self.clusters)

    def floor(self, batch: int) -> float:
        """The loss when every cluster is told apart."""
        return 0.0
