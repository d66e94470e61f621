"""Relative position: where does the second patch of a picture lie, seen from the first?

Doersch, Gupta & Efros 2015, "Unsupervised Visual Representation Learning by Context Prediction", arXiv 1505.05192, and
the released code cdoersch/deepcontext. An accuracy that jumps above 90 % early is a shortcut, not sight: the gap, the
jitter and the handling of colour are there to prevent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, final

import torch
from torch import Tensor, nn

from selfsight.errors import RecipeError, unknown
from selfsight.losses.classification import classification
from selfsight.methods.base import Batch, Facts, Method, Prepared, Projections, Terms, Training
from selfsight.nn.contrast import centred, unit_energy, without
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.neighbourhood import OFFSETS, PAIRS, neighbourhood
from selfsight.views.tiles import LOOKED_AT, check_size, doubts

WIDTH = 512  # of the late fusion (released code: 4096)
ABERRATION = (-1.0, 2.0, -1.0)  # the colour axis from magenta to green along which lenses shift the channels
CHOICES = {"pairs": ("centre", "all"), "anti_aberration": ("drop", "projection", "none")}


@final
class RelativePosition(Method):
    """Name the place of one patch beside another, of eight."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        pairs: str = "centre",  # the centre and one neighbour (paper); "all" 40 pairs of nine patches (released code)
        anti_aberration: str | None = None,  # "drop" all channels but one, "projection" off green-magenta, or "none"
    ) -> None:
        super().__init__(encoder)
        if anti_aberration is None:
            raise RecipeError("relative_position: anti_aberration is not set; take RelativePosition.resolve's")
        check_choices({"pairs": pairs, "anti_aberration": anti_aberration}, encoder.channels)
        self.pairs, self.anti_aberration = pairs, anti_aberration
        encoder.check(neighbourhood(encoder.size, every=False, drop=False).patch)
        # no batch norm has a gain or a shift: with one the network could silence a layer (released code)
        self.reducer = nn.Sequential(mlp([encoder.width, WIDTH], norm=True, last="whiten"), nn.ReLU())
        self.fusion = nn.Sequential(mlp([2 * WIDTH, WIDTH], norm=True, last="whiten"), nn.ReLU())
        self.head = mlp([WIDTH, WIDTH, len(OFFSETS)], norm=False)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Ours: the released recipe sums over examples at a rate of 1e-5 for a million iterations of AlexNet."""
        return Training("sgd", lr=0.05, lr_batch=256, weight_decay=1e-4, batch=256, epochs=200, quick=1.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How colour is handled. RecipeError when patches do not fit the views, or the choice is impossible."""
        wanted = settings.get("anti_aberration")
        colour = ("drop", "released code") if facts.channels == 3 else ("none", "there is no red, green and blue")
        check_choices({**settings, "anti_aberration": wanted or colour[0]}, facts.channels)
        check_size("relative_position", neighbourhood(facts.size, every=False, drop=False).patch, facts.size)
        check_rows("relative_position", facts.batch, facts.micro_batch)
        return {"anti_aberration": colour} if wanted is None else {}

    def prepare(self, data: Prepared) -> None:
        """Say how many pictures are too small for patches."""
        for doubt in doubts("relative_position", data.some(LOOKED_AT)):
            data.say(doubt)

    def views(self, size: int) -> Views:
        """Two patches and where the second lies, or all nine."""
        cut = neighbourhood(size, every=self.pairs == "all", drop=self.anti_aberration == "drop")
        return cut.seen_by(self.encoder.grid, size)

    def project(self, batch: Batch) -> Projections:
        """Logits of the eight places for each pair; all patches in one encoder batch."""
        patches = batch["patches"]  # (B, 2 | 9, h, w, C)
        rows = self.reducer(self.encoder(self.seen(patches.flatten(0, 1)))).unflatten(0, (len(patches), -1))
        pairs = torch.tensor(PAIRS if self.pairs == "all" else ((0, 1),), device=rows.device)
        both = torch.cat([rows.index_select(1, pairs[:, 0]), rows.index_select(1, pairs[:, 1])], dim=2)
        return {"logits": self.head(self.fusion(both.flatten(0, 1))).unflatten(0, (len(patches), -1))}  # (B, 1 | 40, 8)

    def seen(self, patches: Tensor) -> Tensor:
        """Patches (N, h, w, C) as the encoder sees them: without what colour tells of the place, mean square 1."""
        pixels = self.encoder.normalised(patches)  # (N, C, h, w)
        if self.anti_aberration == "drop":
            pixels = centred(pixels)
        elif self.anti_aberration == "projection":
            pixels = without(ABERRATION, pixels * pixels.new_tensor(self.encoder.std)[:, None, None])
        return unit_energy(pixels)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy over the eight places, mean over the pairs."""
        logits = projections["logits"]
        labels = batch["neighbour"][:, None] if self.pairs == "centre" else torch.tensor([p[2] for p in PAIRS])
        loss, accuracy = classification(logits, labels.to(logits.device).expand(logits.shape[:2]))
        return {"loss": loss, "accuracy": accuracy}

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing."""
        return log(len(OFFSETS))

    def floor(self, batch: int) -> float:
        """The least loss there is: every place named, and sure of it."""
        return 0.0


def check_choices(settings: Mapping[str, Any], channels: int) -> None:
    """RecipeError for a setting that there is not, or that the channels do not allow."""
    for name, choices in CHOICES.items():
        if settings.get(name, choices[0]) not in choices:
            raise RecipeError(unknown(f"relative_position {name}", settings[name], choices))
    if settings["anti_aberration"] == "projection" and channels != 3:
        have = f"{channels} channel{'s' * (channels > 1)}"
        raise RecipeError(f'"projection" needs red, green and blue, and the pictures have {have}; use "drop" or "none"')
