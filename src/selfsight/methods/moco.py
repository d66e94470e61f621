"""MoCo: a query finds its own key among a queue of keys that a slowly moving copy of the network made.

He, Fan, Wu, Xie & Girshick 2020, "Momentum Contrast", arXiv 1911.05722 (v1), and Chen, Fan, Girshick & He 2020,
arXiv 2003.04297 (v2: a second layer in the head, blur, cosine), with the released code and its CIFAR-10 notebook. The
number of negatives does not depend on the batch, so it suits small batches. On one device split batch norm stands for
the papers' shuffling across devices. The loss rises while the queue fills with real keys; that is not a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any, final

import torch
from torch import nn

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.info_nce import info_nce
from selfsight.losses.precision import unit
from selfsight.losses.top1 import of_keys
from selfsight.methods.base import Batch, Count, Facts, Method, Portion, Positive, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.queue import Queue, affordable
from selfsight.nn.splitnorm import shuffle, split_batch_norm, splits_for
from selfsight.nn.teacher import follow, frozen_copy
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here the published CIFAR-10 recipes, above the ImageNet ones


@final
class MoCo(Method):
    """Tell a picture's key from the keys of the pictures before it."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        version: int = 2,  # 1: linear head, 2: F -> F -> width
        symmetric: bool = False,  # both views are queries, mean of the two losses (papers: no; lightly CIFAR: yes)
        width: Count = 128,  # of the projection, both papers
        negatives: Count | None = None,  # K; papers 65536, CIFAR 4096
        teacher_momentum: Portion | None = None,  # m; papers 0.999, CIFAR 0.99
        temperature: Positive | None = None,  # tau; v1 0.07, v2 0.2, CIFAR 0.1
        splits: Count | None = None,  # groups of the split batch norm, which `encoder` is converted to; 1 is plain
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if not negatives or teacher_momentum is None or not temperature or not splits or augmentation is None:
            raise RecipeError("moco: some settings are automatic and not set; pass them or take MoCo.resolve's")
        if version not in (1, 2):
            raise RecipeError(f"there is no version {version} of moco here; use 1 or 2")
        self.symmetric, self.width, self.temperature, self.augmentation = symmetric, width, temperature, augmentation
        self.version, self.negatives, self.splits, self.teacher_momentum = version, negatives, splits, teacher_momentum
        split_batch_norm(encoder, splits)
        self.projector = mlp([*[encoder.width] * version, width], norm=False)  # the second has one more layer
        self.teacher = frozen_copy(nn.Sequential(encoder, self.projector))
        self.queue = Queue(negatives, width)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px lightly's CIFAR-10 benchmark, above the papers; the notebook's rate is 0.06 * B / 512."""
        if size <= SMALL:
            return Training("sgd", lr=0.06, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        # v1's paper: the rate x 0.1 at epochs 120 and 160 of 200; here version 1 takes v2's cosine too
        return Training("sgd", lr=0.03, lr_batch=256, momentum=0.9, weight_decay=1e-4, batch=256, epochs=200)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Sizes and rates by view size, batch and number of pictures. RecipeError when the queue would be too short."""
        small, first, each = facts.size <= SMALL, settings.get("version") == 1, 1 + bool(settings.get("symmetric"))
        source, published = ("MoCo CIFAR-10 notebook", 4096) if small else ("MoCo papers", 65536)
        automatic: dict[str, tuple[Any, str]] = {
            "teacher_momentum": (0.99 if small else 0.999, source),
            "temperature": (0.1 if small else 0.07 if first else 0.2, source),
            "augmentation": ("moco1" if first and not small else "moco", source),
            "splits": splits_for(facts.micro_batch or facts.batch),
            "negatives": affordable(published, facts.count, facts.batch, "negatives", settings.get("negatives"), each),
        }
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws of one recipe: a query and a key."""
        return multi_view(self.augmentation, size, views=2)

    def project(self, batch: Batch) -> Projections:
        """Queries: the first view, or each view in a batch of its own."""
        views = batch["views"].unbind(dim=1)[: 2 if self.symmetric else 1]  # (B, h, w, C) each
        return {"query": torch.stack([unit(self.projector(self.encoder(v))) for v in views], dim=1)}  # (B, 1 | 2, P)

    def targets(self, batch: Batch) -> Projections:
        """Keys of the other view, computed in a permuted order so that query and key fall into different groups."""
        there, back = shuffle(len(batch["views"]), key=int(batch["position"][0]))
        views = batch["views"].flip(1).unbind(dim=1)[: 2 if self.symmetric else 1]
        return {"key": torch.stack([unit(self.teacher(v[there]))[back] for v in views], dim=1)}  # (B, 1 | 2, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """InfoNCE against the queue as it was before this batch, else the positive would be a negative too."""
        pairs = list(zip(projections["query"].unbind(dim=1), projections["key"].unbind(dim=1), strict=True))
        losses = [info_nce(q, k, self.queue.keys, temperature=self.temperature) for q, k in pairs]
        apart = torch.square(projections["query"] - projections["key"]).sum(dim=-1).mean().detach()
        return {"loss": torch.stack(losses).mean(), "alignment": apart, "top1": of_keys(*pairs[0], self.queue.keys)}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The teacher follows, the keys of all ranks enter the queue in the order of the global batch."""
        follow(self.teacher, nn.Sequential(self.encoder, self.projector), self.teacher_momentum)
        self.queue.enqueue(distributed.gather(projections["key"]).flatten(0, 1))

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing: log(1 + K)."""
        return log(1 + self.negatives)

    def floor(self, batch: int) -> float:
        """The loss at rest: B pictures at a simplex's corners, K / B keys of each queued; drift goes below it."""
        others = self.negatives * (1 - 1 / batch) * exp(-(1 + 1 / (batch - 1)) / self.temperature)
        return log(1 + self.negatives / batch + others)
