"""SimCLR: each view of a picture finds its partner among all other views of the batch.

Chen, Kornblith, Norouzi & Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv 2002.05709, and the released code google-research/simclr. The published recipe needs large batches and strong
views: where colour is what tells your pictures apart, `--views simclr-keep-colour` leaves it alone. For batches of 32
or so there is `--set criterion=dcl`, without the pair in the denominator (Yeh et al. 2021, arXiv 2110.06848); its sign
means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import exp, log
from typing import Any, final

import torch

from selfsight import distributed
from selfsight.errors import RecipeError, unknown
from selfsight.losses.decoupled import decoupled
from selfsight.losses.nt_xent import nt_xent
from selfsight.losses.precision import unit
from selfsight.losses.top1 import of_views
from selfsight.methods.base import Batch, Count, Facts, Method, Positive, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here the published CIFAR-10 recipes, above the ImageNet ones
FEW = 64  # pictures in a batch, up to which the temperature is lower
HEADS = ("paper", "lightly")
CRITERIA: dict[str, Callable[..., torch.Tensor]] = {
    "nt-xent": nt_xent,
    "dcl": decoupled,
    "dclw": partial(decoupled, sigma=0.5),  # code
}


@final
class SimCLR(Method):
    """Pull the two views of a picture together and push them from every other picture of the batch."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: Positive | None = None,  # tau; README: 0.5 on CIFAR-10, 0.1 on ImageNet; at most 64 pictures: 0.2
        width: Count = 128,  # of the projection, paper section 3
        head: str = "paper",  # or "lightly": 512 wide, a full batch norm at its end
        criterion: str = "nt-xent",  # or "dcl", "dclw": without the pair in the denominator; w weighs hard pairs more
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if temperature is None or augmentation is None:
            raise RecipeError("simclr: temperature and augmentation are not set; pass them or take SimCLR.resolve's")
        for name, given, known in (("head", head, HEADS), ("criterion", criterion, CRITERIA)):
            if given not in known:
                raise RecipeError(unknown(f"simclr {name}", given, known))
        self.temperature, self.width, self.head, self.augmentation = temperature, width, head, augmentation
        self.criterion = criterion
        hidden = encoder.width if head == "paper" else 512  # the paper's "bias" is the shift of a batch norm
        self.projector = mlp([encoder.width, hidden, width], norm=True, last="scale" if head == "paper" else "norm")

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px lightly's CIFAR-10 benchmark (200 epochs: kNN 84.7 %), above the README's ImageNet recipe."""
        if size <= SMALL:
            # batch: lightly 128 or 512, equally good; epochs: lightly 200 or 800
            return Training("sgd", lr=0.06, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        # rate: README 0.075 * sqrt(B), which at 4096 is the paper's 0.3 * B / 256; decay: README, paper 1e-6
        # batch: paper 4096, and 256 as the smallest studied; here one device
        return Training("lars", lr=1.2, lr_rule="sqrt", weight_decay=1e-4, batch=256, epochs=100, warmup=10.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Temperature and views by the size of the views, temperature also by the batch and the criterion."""
        small, coupled = facts.size <= SMALL, settings.get("criterion", "nt-xent") == "nt-xent"
        usual = (0.5, "SimCLR README, CIFAR-10") if small else (0.1, "SimCLR README, ImageNet")
        usual = (0.2, f"measured for batches up to {FEW}") if small and facts.batch <= FEW else usual
        automatic: dict[str, tuple[Any, str]] = {
            "temperature": usual if coupled else (0.1, "DCL's code"),
            "augmentation": ("simclr", "the paper's views, without blur" if small else "the paper's views"),
        }
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Two draws of one recipe."""
        return multi_view(self.augmentation, size, views=2)

    def project(self, batch: Batch) -> Projections:
        """Both views in one encoder batch, so that they share batch statistics; rows are unit vectors."""
        views = batch["views"]  # (B, 2, h, w, C)
        rows = unit(self.projector(self.encoder(views.flatten(0, 1))))  # (2B, P)
        return {"views": rows.view(len(views), 2, -1)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """The loss of this rank's anchors against all ranks' views."""
        own, everyone = projections["views"], distributed.gather(projections["views"])
        (first, second), offset = own.unbind(dim=1), distributed.rank() * len(own)
        options = {"temperature": self.temperature, "candidates": everyone.unbind(dim=1), "offset": offset}
        loss = CRITERIA[self.criterion](first, second, **options)
        apart = torch.square(first - second).sum(dim=-1).mean().detach()
        return {"loss": loss, "alignment": apart, "top1": of_views(own, everyone, offset=offset)}

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector: log(2B - 1), or that of DCL."""
        return self._of(2 * batch - 2, 0.0)

    def floor(self, batch: int) -> float:
        """The least loss there is: partners equal, pictures at the corners of a simplex (cosine -1 / (B - 1))."""
        return self._of(2 * batch - 2, (1 + 1 / (batch - 1)) / self.temperature)

    def _of(self, negatives: int, ahead: float) -> float:
        """The loss where every pair's logit is `ahead` of all its negatives'."""
        return log(1 + negatives * exp(-ahead)) if self.criterion == "nt-xent" else log(negatives) - ahead
