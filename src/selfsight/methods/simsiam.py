"""SimSiam: from one view predict what the network itself makes of the other, with no gradient through that.

Chen & He 2020, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566, and the released code
facebookresearch/simsiam. BYOL without a teacher: half the work. The stop of the gradient is all that keeps the network
from giving all pictures one vector; a loss that falls to -1 within a few epochs says that it did, and the guard too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from selfsight.errors import RecipeError
from selfsight.losses.cross_view import cross_view_cosine
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Count, Facts, Group, Method, Projections, Several, Terms, Training
from selfsight.nn.crops import apart
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here the CIFAR-10 recipes, above the paper's ImageNet recipe


@final
class SimSiam(Method):
    """Bring the prediction from a picture's view to the projection of its other view, which stands still."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        layers: Several | None = None,  # of the projector; paper 3, 2 on CIFAR-10
        hidden: Count = 2048,  # width of the projector's hidden layers, paper; code: the encoder's
        width: Count = 2048,  # of the projection, paper
        predictor_hidden: Count = 512,  # width of the predictor's hidden layer, paper
        constant_rate: bool = True,  # the predictor's rate is not lowered, paper; lightly CIFAR lowers it
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if layers is None or augmentation is None:
            raise RecipeError("simsiam: layers and augmentation are not set; pass them or take SimSiam.resolve's")
        self.layers, self.hidden, self.width, self.predictor_hidden = layers, hidden, width, predictor_hidden
        self.constant_rate, self.augmentation = constant_rate, augmentation
        self.projector = mlp([encoder.width, *[hidden] * (layers - 1), width], norm=True, last="whiten")
        self.predictor = mlp([width, predictor_hidden, width], norm=True)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px after lightly's CIFAR-10 benchmark (whose predictor's rate falls too), above the code's."""
        if size <= SMALL:
            return Training("sgd", lr=0.06, lr_rule="none", weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        # batch: code 512, and 256 is as good; it starts residual branches at zero, which would make the untrained
        # network that training is measured against too easy to beat
        return Training("sgd", lr=0.05, lr_batch=256, weight_decay=1e-4, batch=256, epochs=100)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Depth of the projector and views by the size of the views. RecipeError for a batch norm of one row."""
        check_rows("simsiam", facts.batch, facts.micro_batch)
        small = facts.size <= SMALL
        automatic: dict[str, tuple[Any, str]] = {
            "layers": (2, "paper, CIFAR-10") if small else (3, "paper, ImageNet"),
            "augmentation": ("moco", "paper, those of MoCo v2"),
        }
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws of one recipe."""
        return multi_view(self.augmentation, size)

    def project(self, batch: Batch) -> Projections:
        """Projections of each view, in a batch of its own as in the code, and predictions; rows are unit vectors."""
        rows = apart(batch["views"], self.encoder, self.projector)
        return {"projection": unit(rows), "prediction": unit(apart(rows, self.predictor))}  # (B, 2, P) each

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Minus the mean cosine of predictions and projections, from -1 to 1."""
        return {"loss": -cross_view_cosine(projections["prediction"], projections["projection"].detach())}

    def groups(self) -> list[Group]:
        """The predictor keeps its rate, so that it keeps up with the projections."""
        rest = [*self.encoder.parameters(), *self.projector.parameters()]
        return [Group(rest), Group([*self.predictor.parameters()], constant=self.constant_rate)]

    def chance(self, batch: int) -> float:
        """The loss of predictions at right angles to the projections, as those that know nothing of them are."""
        return 0.0

    def floor(self, batch: int) -> float:
        """The loss of predictions that are the projections."""
        return -1.0
