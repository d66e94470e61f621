"""Rotation: by how many quarter turns was the picture turned?

Gidaris, Singh & Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations", arXiv 1803.07728,
and the released code gidariss/FeatureLearningRotNet. It needs pictures with an upright: from aerial photographs,
textures or pills it learns nothing, and before training it says so. In the paper the middle of the network transfers
better than its end, which is what is kept here.
"""

from __future__ import annotations

from math import log
from typing import final

import torch
from torch import nn

from selfsight.losses.classification import classification
from selfsight.methods.base import Batch, Method, Prepared, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.views.draw import Views
from selfsight.views.orientation import FEWEST, upright
from selfsight.views.turned import Turned

SMALL = 96  # pixels: up to here the published CIFAR-10 recipe, above the ImageNet one
LOOKED_AT = 300  # pictures that are asked for an upright


@final
class Rotation(Method):
    """Name the quarter turn that a picture was given."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        four_way: bool = True,  # all four turns of each picture in one batch (released code); false: one at random
    ) -> None:
        super().__init__(encoder)
        self.four_way = four_way
        self.head = nn.Linear(encoder.width, 4)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """The released recipes, whose rates fall in steps and, on CIFAR-10, with Nesterov; here the cosine without."""
        if size <= SMALL:
            return Training("sgd", lr=0.1, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=1.0)
        return Training("sgd", lr=0.1, lr_batch=192, momentum=0.9, weight_decay=5e-4, batch=192, epochs=50)

    def prepare(self, data: Prepared) -> None:
        """Warn when a simple classifier cannot tell the turns of the pictures apart. Changes nothing."""
        found = upright(data.some(LOOKED_AT))
        if found.pictures < FEWEST:
            data.say(
                f"{found.pictures} pictures are too few to tell whether they have an upright; without one there is "
                "little to learn from turning them, and another method, such as --method simclr, is the safer choice"
            )
        elif not found.clear:
            data.say(
                f"a simple classifier names the quarter turn of {found.accuracy:.0%} of {found.pictures} of these "
                "pictures, and chance is 25 %: they seem to have no upright, so that there is little to learn from "
                "turning them; another method, such as --method simclr, is the safer choice"
            )

    def views(self, size: int) -> Views:
        """One view, flipped or not; with `four_way=False` it is turned, and the turn is a fact."""
        return Turned(size, turns=not self.four_way)

    def project(self, batch: Batch) -> Projections:
        """Logits of the four turns: of all turns of every view in one encoder batch, or of the one that was drawn."""
        view = batch["view"]  # (B, h, w, C)
        if not self.four_way:
            return {"logits": self.head(self.encoder(view))}  # (B, 4)
        turned = torch.stack([torch.rot90(view, k, dims=(1, 2)) for k in range(4)], dim=1)  # (B, 4, h, w, C)
        return {"logits": self.head(self.encoder(turned.flatten(0, 1))).unflatten(0, (-1, 4))}  # (B, 4, 4)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy over the four turns, mean over all that were shown."""
        logits = projections["logits"]
        turns = torch.arange(4, device=logits.device).expand(len(logits), 4) if self.four_way else batch["turn"]
        loss, accuracy = classification(logits, turns)
        return {"loss": loss, "accuracy": accuracy}

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing."""
        return log(4)

    def floor(self, batch: int) -> float:
        """The least loss there is: every turn named, and sure of it."""
        return 0.0
