"""VICReg: two views of a picture are alike, every dimension varies over the batch, and no two vary together.

Bardes, Ponce & LeCun 2022, "Variance-Invariance-Covariance Regularization", arXiv 2105.04906, and the released code
facebookresearch/vicreg. Each of three terms says what it does: a collapse is seen at once, as a variance term of 0.99
and a loss of 24.75 or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch.nn.functional import mse_loss

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.variance_covariance import covariance, variance
from selfsight.methods.base import Amount, Batch, Count, Facts, Method, Positive, Projections, Terms, Training
from selfsight.nn.crops import apart
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here solo-learn's CIFAR-10 head and views, above the paper's ImageNet recipe


@final
class VICReg(Method):
    """Pull the two views of a picture together, and keep the dimensions varied and uncorrelated."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: Count | None = None,  # width of the projector's hidden layers; paper 8192, CIFAR 2048
        width: Count | None = None,  # of the projection; paper 8192, CIFAR 2048
        invariance_weight: Amount = 25.0,  # lambda, paper
        variance_weight: Positive = 25.0,  # mu, paper
        covariance_weight: Amount = 1.0,  # nu, paper
        halve_variance: bool = True,  # the mean over both views, code; solo-learn adds them
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if hidden is None or width is None or augmentation is None:
            raise RecipeError("vicreg: hidden, width and augmentation are not set; pass them or take VICReg.resolve's")
        self.hidden, self.width, self.halve_variance, self.augmentation = hidden, width, halve_variance, augmentation
        self.invariance_weight, self.variance_weight = invariance_weight, variance_weight
        self.covariance_weight = covariance_weight
        self.projector = mlp([encoder.width, hidden, hidden, width], norm=True, last_bias=False)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px ours (solo-learn's is tied to a clipped LARS), above the code's; it falls to a thousandth of the
        rate, here to 0."""
        if size <= SMALL:
            return Training("adamw", lr=1e-3, lr_batch=128, weight_decay=1e-4, batch=128, epochs=200, quick=0.8)
        # batch: code 2048, here one device; it starts residual branches at zero, see simsiam.py
        return Training("lars", lr=0.2, lr_batch=256, weight_decay=1e-6, batch=256, epochs=1000, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Width of the head by the size of the views. RecipeError for a batch norm of one row."""
        check_rows("vicreg", facts.batch, facts.micro_batch)
        wide = (2048, "solo-learn, CIFAR-10") if facts.size <= SMALL else (8192, "paper")
        automatic: dict[str, tuple[Any, str]] = {"hidden": wide, "width": wide}
        automatic["augmentation"] = ("vicreg", wide[1])
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws, of one recipe or of two."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Projections of each view, in a batch of its own as in the code."""
        return {"views": apart(batch["views"], self.encoder, self.projector)}  # (B, 2, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Over the views of all ranks: variance and covariance are of the whole batch."""
        first, second = distributed.gather(projections["views"]).unbind(dim=1)
        alike, together = mse_loss(first, second), covariance(first) + covariance(second)
        varied = (variance(first) + variance(second)) / (2 if self.halve_variance else 1)
        loss = self.invariance_weight * alike + self.variance_weight * varied + self.covariance_weight * together
        terms = {"invariance": alike, "variance": varied, "covariance": together}
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector: 24.75 with the paper's weights."""
        return self.variance_weight * 0.99 * (1 if self.halve_variance else 2)

    def floor(self, batch: int) -> float:
        """Pictures equal in both views and spread evenly over the B - 1 dimensions they span, as wide as it pays."""
        excess = 2 * self.covariance_weight * max(0.0, self.width / (batch - 1) - 1)
        weight = self.variance_weight * (1 if self.halve_variance else 2)
        wide = min(1.0, (weight / (4 * excess)) ** (1 / 3)) if excess else 1.0
        return weight * (1 - wide) + excess * wide**4
