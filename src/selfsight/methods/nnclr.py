"""NNCLR: the nearest past projection of one view, mostly of another picture, finds the other view's prediction.

Dwibedi, Aytar, Tompson, Sermanet & Zisserman 2021, "With a Little Help from My Friends", arXiv 2104.14548. What two
pictures share then counts as much as what two views do, so it leans less on strong views. The neighbours are noise
until the queue holds projections of a network that has learned something: `distinct`, the share of the batch's
neighbours that are different ones, falls to 0 where all pictures become alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any, final

import torch

from selfsight import distributed
from selfsight.errors import RecipeError, unknown
from selfsight.losses.matching import matching
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit
from selfsight.losses.top1 import of_matches
from selfsight.methods.base import Batch, Count, Facts, Method, Positive, Projections, Terms, Training
from selfsight.nn.crops import apart
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.queue import Queue, affordable
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here lightly's CIFAR-10 benchmark, above the paper's ImageNet recipe
DENOMINATORS = ("batch", "ntxent")


@final
class NNCLR(Method):
    """Let a picture's nearest neighbour in a queue of past projections find the picture among the batch."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        support: Count | None = None,  # projections in the queue; paper 98304, lightly CIFAR 4096
        temperature: Positive = 0.1,  # paper; solo-learn CIFAR 0.2
        hidden: Count = 2048,  # width of the projector's hidden layers, paper
        width: Count = 256,  # of the projection, paper
        predictor_hidden: Count = 4096,  # width of the predictor's hidden layer, paper
        denominator: str = "batch",  # the other view of every picture, paper; lightly "ntxent": both views
        augmentation: str = "simclr",  # name of a view recipe, paper
    ) -> None:
        super().__init__(encoder)
        if support is None:
            raise RecipeError("nnclr: support is not set; pass it or take NNCLR.resolve's")
        if denominator not in DENOMINATORS:
            raise RecipeError(unknown("nnclr denominator", denominator, DENOMINATORS))
        self.support, self.temperature, self.hidden, self.width = support, temperature, hidden, width
        self.predictor_hidden, self.denominator, self.augmentation = predictor_hidden, denominator, augmentation
        self.projector = mlp([encoder.width, hidden, hidden, width], norm=True, last="norm")
        self.predictor = mlp([width, predictor_hidden, width], norm=True)
        self.queue = Queue(support, width)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px after lightly's CIFAR-10 benchmark (there denominator=ntxent), above the paper's."""
        if size <= SMALL:
            return Training("sgd", lr=0.06, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        # batch: paper 4096, here one device
        return Training("lars", lr=0.3, lr_batch=256, weight_decay=1e-6, batch=256, epochs=1000, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Length of the queue by the size of the views. RecipeError where pictures or micro-batch are too few."""
        check_rows("nnclr", facts.batch, facts.micro_batch)
        published = 4096 if facts.size <= SMALL else 98304
        support = affordable(published, facts.count, facts.batch, "support", settings.get("support"))
        return {"support": support} if settings.get("support") is None else {}

    def views(self, size: int) -> Views:
        """Two draws of one recipe."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Projections of each view, in a batch of its own, and predictions; rows are unit vectors."""
        rows = apart(batch["views"], self.encoder, self.projector)
        return {"projection": unit(rows), "prediction": unit(apart(rows, self.predictor))}  # (B, 2, P) each

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Each view's neighbour, from the queue as it was before this batch, finds the other view's prediction."""
        found = self.queue.nearest(projections["projection"].flatten(0, 1)).view(-1, 2)
        neighbours, predictions = self.queue.keys[found], projections["prediction"].flip(1)  # (B, 2, P) each
        both = zip(*(self._one(neighbours[:, view], predictions[:, view]) for view in (0, 1)), strict=True)
        loss, picked = (torch.stack(terms).mean() for terms in both)
        distinct = found.new_tensor(len(torch.unique(found[:, 0])) / len(found), dtype=torch.float32)
        return {"loss": loss, "distinct": distinct, "top1": picked}

    def _one(self, rows: torch.Tensor, predictions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        everyone, offset = distributed.gather(predictions), distributed.rank() * len(rows)
        picked = of_matches(rows, everyone, offset=offset)
        if self.denominator == "batch":
            return matching(rows, everyone, temperature=self.temperature, offset=offset), picked
        pools = (distributed.gather(rows), everyone)
        return nt_xent(rows, predictions, temperature=self.temperature, candidates=pools, offset=offset), picked

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The first view's projections of all ranks enter the queue in the order of the global batch."""
        self.queue.enqueue(distributed.gather(projections["projection"][:, 0].contiguous()))

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector: the log of how many candidates there are."""
        return log(batch if self.denominator == "batch" else 2 * batch - 1)

    def floor(self, batch: int) -> float:
        """The least there is: neighbours and predictions equal, pictures at the corners of a simplex (see SimCLR)."""
        others = (batch - 1) * (1 if self.denominator == "batch" else 2)
        return log(1 + others * exp(-(1 + 1 / (batch - 1)) / self.temperature))
