"""Barlow Twins: a dimension of one view goes with the same dimension of the other view, and with no other.

Zbontar, Jing, Misra, LeCun & Deny 2021, "Self-Supervised Learning via Redundancy Reduction", arXiv 2103.03230, and the
released code facebookresearch/barlowtwins. Neither a teacher nor negatives; wide projections are worth their cost. The
loss is a sum over dimensions: it is as large as the projection is wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.cross_correlation import cross_correlation
from selfsight.methods.base import Batch, Count, Facts, Group, Method, Positive, Projections, Several, Terms, Training
from selfsight.nn.crops import apart
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here lightly's CIFAR-10 benchmark, above the paper's ImageNet recipe


@final
class BarlowTwins(Method):
    """Make the correlations between the two views' dimensions the identity matrix."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        layers: Several | None = None,  # of the projector; paper 3, lightly CIFAR 2
        hidden: Count | None = None,  # width of its hidden layers; paper 8192, CIFAR 2048
        width: Count | None = None,  # of the projection; paper 8192, CIFAR 2048
        redundancy: Positive = 0.0051,  # lambda, the weight of correlations between dimensions, paper
        steady_rate: Positive | None = None,  # of biases and gains, as a share of the weights' rate; code 0.0048 / 0.2
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if layers is None or hidden is None or width is None or steady_rate is None or augmentation is None:
            raise RecipeError("barlow_twins: some settings are automatic; pass them or take BarlowTwins.resolve's")
        self.layers, self.hidden, self.width = layers, hidden, width
        self.redundancy, self.steady_rate, self.augmentation = redundancy, steady_rate, augmentation
        self.projector = mlp([encoder.width, *[hidden] * (layers - 1), width], norm=True, last_bias=False)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px lightly's CIFAR-10 benchmark (200 epochs: kNN 84.2 %), above the code's; it falls to a thousandth
        of the rate, here to 0."""
        if size <= SMALL:
            return Training("sgd", lr=0.06, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        # batch: code 2048, here one device; it starts residual branches at zero, see simsiam.py
        return Training("lars", lr=0.2, lr_batch=256, weight_decay=1e-6, batch=256, epochs=1000, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Head, views and the rate of biases by the size of the views. RecipeError for a batch norm of one row."""
        check_rows("barlow_twins", facts.batch, facts.micro_batch)
        small = facts.size <= SMALL
        source = "lightly's CIFAR-10 benchmark" if small else "paper"
        large = {"layers": 3, "hidden": 8192, "width": 8192, "steady_rate": 0.024, "augmentation": "byol"}
        own = {"layers": 2, "hidden": 2048, "width": 2048, "steady_rate": 1.0, "augmentation": "simclr"}
        found = own if small else large
        return {name: (value, source) for name, value in found.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws, of one recipe or of two."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Projections of each view, in a batch of its own as in the code."""
        return {"views": apart(batch["views"], self.encoder, self.projector)}  # (B, 2, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Over the views of all ranks: correlations are of the whole batch."""
        first, second = distributed.gather(projections["views"]).unbind(dim=1)
        own, others = cross_correlation(first, second)
        return {"loss": own + self.redundancy * others, "own": own.detach(), "others": others.detach()}

    def groups(self) -> list[Group]:
        """Biases and gains have a rate of their own: LARS scales the weights' only."""
        trained = [p for p in self.parameters() if p.requires_grad]
        weights, steady = ([p for p in trained if (p.ndim > 1) == wanted] for wanted in (True, False))
        return [Group(weights), Group(steady, lr=self.steady_rate)]

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector: 1 for each dimension."""
        return float(self.width)

    def floor(self, batch: int) -> float:
        """No loss is less: B pictures span B - 1 dimensions, and more of them cannot all be uncorrelated."""
        excess = self.redundancy * max(0.0, self.width / (batch - 1) - 1)
        return self.width * excess / (1 + excess)
