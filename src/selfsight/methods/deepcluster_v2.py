"""DeepCluster-v2: cluster what the network made of the pictures in the last epoch; predict the clusters from new views.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020 (SwAV), arXiv 2006.09882, and the released code. Nothing is
extracted anew: projections of both views are kept as they are made; their clusters' centroids are the next prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import exp, log
from typing import Any, final

import torch

from selfsight import distributed
from selfsight.clusters.kmeans import spherical, start
from selfsight.clusters.partition import Partition, automatic
from selfsight.errors import RecipeError
from selfsight.losses.cluster_prediction import prototype_prediction
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Epoch, Facts, Method, Prepared, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.memory import Memory
from selfsight.recipe import Count, Positive, Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here a recipe for small data sets
ITERATIONS = 10  # of k-means, released code
HIDDEN = 2048  # width of the head's hidden layer, released code


@final
class DeepClusterV2(Method):
    """Tell from either view which cluster a picture fell into at the start of the epoch."""

    prototypes: torch.Tensor  # (H, K, P)

    def __init__(
        self,
        encoder: Encoder,
        *,
        clusters: Several | None = None,  # K of each clustering; code and solo-learn 3000
        clusterings: Count = 3,  # H, independent; code 3
        width: Count = 128,  # of the projection, code
        temperature: Positive = 0.1,  # code
        skip_first: bool = False,  # no clusters in the first epoch, as in solo-learn; code: of the untrained network
        augmentation: str = "symmetric",  # name of a view recipe; solo-learn's; code: and 4 small crops
        count: int | None = None,  # training pictures, always automatic
    ) -> None:
        super().__init__(encoder)
        if clusters is None or count is None:
            raise RecipeError("deepcluster_v2: clusters and count are not set; take DeepClusterV2.resolve's")
        self.clusters, self.clusterings, self.width, self.count = clusters, clusterings, width, count
        self.temperature, self.skip_first, self.augmentation = temperature, skip_first, augmentation
        self.projector = mlp([encoder.width, HIDDEN, width], norm=True)
        self.partition = Partition(count, clusters, clusterings)
        self.register_buffer("prototypes", torch.zeros(clusterings, clusters, width))
        self.memory = Memory(2, count, width)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px lightly's for SwAV on CIFAR-10 (solo-learn's is tied to a clipped LARS); above, the code's."""
        if size <= SMALL:
            return Training("adamw", lr=1e-3, lr_batch=128, weight_decay=1e-6, batch=128, epochs=200, quick=0.8)
        # code: 4.8 at 4096, from 0.3 in the warm-up and to 0.0048
        return Training("lars", lr=0.3, lr_batch=256, weight_decay=1e-6, batch=256, epochs=400, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Clusters that suit so many pictures. RecipeError when these are fewer."""
        return automatic(3000, facts.count, settings)

    @torch.no_grad()
    def prepare(self, data: Prepared) -> None:
        """Fill the memory with untrained projections of the evaluation views: there must be something to cluster."""
        projector = deepcopy(self.projector)  # with statistics of 256, else all would point in nearly one direction
        parts = data.features().to(self.memory.rows).tensor_split(max(1, self.count // 256))
        self.memory.rows.copy_(torch.cat([unit(projector(part)) for part in parts]))

    @torch.no_grad()
    def on_epoch_start(self, epoch: Epoch) -> None:
        """Cluster the memory; clustering h looks at view h mod 2."""
        if epoch.number < self.skip_first:
            return
        generator = epoch.generator()
        views = [self.memory.rows[h % 2] for h in range(self.clusterings)]
        found = [spherical(rows, start(rows, self.clusters, generator), iterations=ITERATIONS) for rows in views]
        self.prototypes.copy_(torch.stack([centroids for centroids, _ in found]))
        distributed.copy_first(self.prototypes)
        self.partition.replace(torch.stack([assignments for _, assignments in found]))

    def views(self, size: int) -> Views:
        """Two draws of one recipe."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Both views in one encoder batch; rows are unit vectors."""
        rows = unit(self.projector(self.encoder(batch["views"].flatten(0, 1))))  # (2B, P)
        return {"views": rows.view(-1, 2, self.width)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy with the picture's cluster in every clustering, from both views."""
        views, clusters = projections["views"], self.partition.assignments[:, batch["index"]]  # (B, 2, P), (H, B)
        loss = prototype_prediction(views, self.prototypes, clusters, temperature=self.temperature)
        return {"loss": loss, **self.partition.terms()}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """Remember the projections of all ranks."""
        self.memory.write(distributed.gather(batch["index"]), distributed.gather(projections["views"]))

    def chance(self, batch: int) -> float:
        """The loss of prototypes that are all equally near: log K."""
        return log(self.clusters)

    def floor(self, batch: int) -> float:
        """The least there can be: views at their prototypes, and those at the corners of a simplex."""
        return log(1 + (self.clusters - 1) * exp(-self.clusters / (self.clusters - 1) / self.temperature))
