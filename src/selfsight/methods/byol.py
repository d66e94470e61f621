"""BYOL: from one view predict what a slowly moving copy of the network makes of the other.

Grill, Strub, Altché, Tallec et al. 2020, "Bootstrap Your Own Latent", arXiv 2006.07733, and the released code
deepmind-research/byol. No picture is pushed away from another, so small batches do. The same vector for all pictures
would be a perfect answer, and has loss 0: predictor and teacher keep the network from it, and the guard watches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import nn

from selfsight.errors import RecipeError
from selfsight.losses.cross_view import cross_view_cosine
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Count, Facts, Method, Portion, Projections, Terms, Training
from selfsight.nn.crops import apart
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.nn.teacher import follow, frozen_copy, momentum
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here lightly's CIFAR-10 benchmark, above the paper's ImageNet recipe


@final
class BYOL(Method):
    """Bring the prediction from a picture's view to the teacher's projection of its other view."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: Count | None = None,  # width of the hidden layers of both heads; paper 4096, lightly CIFAR 1024
        width: Count = 256,  # of the projection, paper
        teacher_momentum: Portion = 0.99,  # tau at the start; paper 0.99 for 300 epochs, 0.996 for 1000
        last_momentum: Portion = 1.0,  # and at the end, along a cosine, paper; lightly CIFAR stays at 0.99
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if hidden is None or augmentation is None:
            raise RecipeError("byol: hidden and augmentation are not set; pass them or take BYOL.resolve's")
        self.hidden, self.width, self.augmentation = hidden, width, augmentation
        self.teacher_momentum, self.last_momentum = teacher_momentum, last_momentum
        self.projector = mlp([encoder.width, hidden, width], norm=True, last_bias=False)
        self.predictor = mlp([width, hidden, width], norm=True, last_bias=False)
        self.teacher = frozen_copy(nn.Sequential(encoder, self.projector))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px after lightly's CIFAR-10 (whose teacher_momentum stays), above the code's for 300 epochs."""
        if size <= SMALL:  # lightly: 0.06 and 5e-4, for a loss that is a quarter of the paper's; the steps are the same
            return Training("sgd", lr=0.015, lr_batch=128, weight_decay=2e-3, batch=128, epochs=200, quick=0.8)
        # batch: code 4096, here one device
        return Training("lars", lr=0.3, lr_batch=256, weight_decay=1e-6, batch=256, epochs=300, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Width of the heads and views by the size of the views. RecipeError for a batch norm of one row."""
        check_rows("byol", facts.batch, facts.micro_batch)
        small = facts.size <= SMALL
        automatic: dict[str, tuple[Any, str]] = {
            "hidden": (1024, "lightly's CIFAR-10 benchmark") if small else (4096, "paper"),
            "augmentation": ("simclr", "lightly's CIFAR-10 benchmark") if small else ("byol", "paper, two kinds"),
        }
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws, of one recipe or of two."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Predictions from each view, in a batch of its own as in the code; rows are unit vectors."""
        return {"prediction": unit(apart(batch["views"], self.encoder, self.projector, self.predictor))}  # (B, 2, P)

    def targets(self, batch: Batch) -> Projections:
        """The teacher's projections of each view."""
        return {"target": unit(apart(batch["views"], self.teacher))}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Squared distances in both directions, added as in the paper: 4 - 4 cosines, from 0 to 8."""
        return {"loss": 4 - 4 * cross_view_cosine(projections["prediction"], projections["target"])}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The teacher follows."""
        student = nn.Sequential(self.encoder, self.projector)
        follow(self.teacher, student, momentum(self.progress, self.teacher_momentum, self.last_momentum))

    def chance(self, batch: int) -> float:
        """The loss of predictions at right angles to their targets, as those that know nothing of them are."""
        return 4.0

    def floor(self, batch: int) -> float:
        """The loss of predictions that are their targets."""
        return 0.0
