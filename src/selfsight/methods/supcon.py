"""SupCon: each view finds all other views of its class in the batch. SimCLR for pictures that have labels.

Khosla et al. 2020, "Supervised Contrastive Learning", arXiv 2004.11362, and the released code HobbitLong/SupContrast. A
picture without a label is a class of its own, so labels for some of the pictures will do; it is then pushed away from
the labelled pictures of its true class too. The second stage is a linear classifier on the frozen encoder. The code's
warm-up for batches above 256 (10 epochs) and the floor of its rate (a thousandth) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any, ClassVar, final

import torch

from selfsight import distributed
from selfsight.errors import RecipeError, unknown
from selfsight.losses.precision import unit
from selfsight.losses.supcon import FORMS, classes_of, partnered, sup_con
from selfsight.losses.top1 import of_views
from selfsight.methods.base import Batch, Count, Facts, Method, Positive, Prepared, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.recipe import Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here the released CIFAR-10 recipe, above the length of the paper's ImageNet one
TEMPERATURE, ALONE = 0.1, 0.1  # tau; share of pictures with a partner in the batch, below which people are told
CHOICES = {"head": ("mlp", "linear"), "form": FORMS, "contrast_mode": ("all", "one")}


@final
class SupCon(Method):
    """Pull the pictures of a class together, all their views, and push them from every other class of the batch."""

    supervised: ClassVar[Mapping[str, Any] | None] = {}

    def __init__(
        self,
        encoder: Encoder,
        *,
        num_views: Several = 2,  # drawn of each picture, paper section 3.1
        temperature: Positive = TEMPERATURE,  # tau; the code's CIFAR-10 recipe and the paper's ImageNet one
        base_temperature: Positive | None = None,  # multiplies the loss by tau / this; code: 0.07
        width: Count = 128,  # of the projection, paper section 3.1
        head: str = "mlp",  # F -> F -> width as in the code, or "linear": F -> width
        form: str = "outside",  # of the loss: outside, as the paper advises, inside, or sum-in-log as in solo-learn
        contrast_mode: str = "all",  # every view is an anchor, or "one": the first of each picture
        augmentation: str = "supcon",  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        self.num_views, self.temperature, self.width, self.head, self.form = num_views, temperature, width, head, form
        self.base_temperature, self.contrast_mode, self.augmentation = base_temperature, contrast_mode, augmentation
        if num_views < 2:
            raise RecipeError("supcon: num_views must be 2 or more; a view alone of a picture alone has no partner")
        for name, value in (("head", head), ("form", form), ("contrast_mode", contrast_mode)):
            if value not in CHOICES[name]:
                raise RecipeError(unknown(f"supcon {name}", value, CHOICES[name]))
        self.projector = mlp([*[encoder.width] * (2 if head == "mlp" else 1), width], norm=False)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """The code's CIFAR-10 recipe, rate 0.5 at 1024 pictures; above 96 px for as long as the paper on ImageNet."""
        # batch: code 1024, paper 6144 on ImageNet, here one device
        epochs = 1000 if size <= SMALL else 350
        return Training("sgd", lr=0.5, lr_batch=1024, weight_decay=1e-4, batch=256, epochs=epochs, quick=0.8)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """The base temperature. RecipeError where pictures have nothing to be told from."""
        if max(facts.per_class, default=0) == facts.count:
            raise RecipeError("supcon: all training pictures have the same label; add others, or use --method simclr")
        automatic = settings.get("temperature", TEMPERATURE), "the temperature itself: the loss is not scaled"
        return {"base_temperature": automatic} if settings.get("base_temperature") is None else {}

    def prepare(self, data: Prepared) -> None:
        """Say so where labels make little or no difference."""
        labelled, share = data.labels[data.labels >= 0], partnered(data.labels, data.batch)
        if not (torch.bincount(labelled) > 1).any():
            what = "no two training pictures share a label" if len(labelled) else "no training picture has a label"
            data.say(f"{what}: supcon is SimCLR then, as each picture finds its own views only")
        elif share < ALONE:
            what = f"in a batch of {data.batch} about {share:.1%} of the pictures meet another with their label"
            data.say(f"{what}: supcon is SimCLR for the others; give a larger --batch, or take --method pull_push")

    def views(self, size: int) -> Views:
        """Draws of one recipe."""
        return multi_view(self.augmentation, size, views=self.num_views)

    def project(self, batch: Batch) -> Projections:
        """All views in one encoder batch, so that they share batch statistics; rows are unit vectors."""
        views = batch["views"]  # (B, V, h, w, C)
        rows = unit(self.projector(self.encoder(views.flatten(0, 1))))  # (B * V, P)
        return {"views": rows.view(*views.shape[:2], -1)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """This rank's anchors against all ranks' views, and which share of them had a partner by label."""
        own, labels = projections["views"], distributed.gather(batch["label"])
        everyone, offset = distributed.gather(own), distributed.rank() * len(own)
        how: Any = {"base_temperature": self.base_temperature, "form": self.form, "contrast_mode": self.contrast_mode}
        total, count = sup_con(own, labels, temperature=self.temperature, candidates=everyone, offset=offset, **how)
        alignment = 2 * own.detach().var(dim=1).sum(dim=-1).mean()  # mean squared distance of two views of a picture
        partnered = (classes_of(labels)[1][offset : offset + len(own)] > 1).float().mean()
        found = of_views(own, everyone, labels, offset=offset)
        return {"loss": distributed.mean(total, count), "alignment": alignment, "partnered": partnered, "top1": found}

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector, where no two share a label."""
        return self._scaled(log(self.num_views * batch - 1))

    def floor(self, batch: int) -> float:
        """The least loss where no two share a label: views equal, pictures at a simplex's corners (see SimCLR)."""
        others = self.num_views * (batch - 1) * exp(-(1 + 1 / (batch - 1)) / self.temperature)
        return self._scaled(log(self.num_views - 1 + others))

    def _scaled(self, loss: float) -> float:
        plain = loss - log(self.num_views - 1) if self.form == "sum-in-log" else loss
        return plain * self.temperature / (self.base_temperature or self.temperature)
