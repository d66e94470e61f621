"""Colourisation: from the lightness of a picture, predict which colours are likely at every location.

Zhang, Isola & Efros 2016, "Colorful Image Colorization", arXiv 1603.08511, and the released code. The encoder stays one
for colour pictures: it sees the lightness in each of three channels. Rare colours weigh more, by a prior of your own
pictures; grey ones are left out of the loss. Painted things may have any colour and teach less than sky and plants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch

from selfsight import distributed
from selfsight.errors import DataError, RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.soft_cross_entropy import soft_cross_entropy
from selfsight.methods.base import Batch, Count, Facts, Method, Part, Positive, Prepared, Projections, Terms, Training
from selfsight.nn.colour_bins import ColourBins, rebalanced
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import pooled
from selfsight.nn.upsampler import Upsampler
from selfsight.views.lightness import GREY, PER_UNIT, Lightness
from selfsight.views.render import whole

SMALL, MEASURED = 96, 20_000  # pixels: up to here rates for small views, above the paper's; pictures, for the prior


@final
class Colorization(Method):
    """See the lightness of a picture and predict its colours on a coarse grid, each as a distribution over bins."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        neighbours: Count = 5,  # bins that share a colour; paper 5, released code 10
        spacing: int = 10,  # of the bins, units of a and b; paper 10 (313 bins), 20 is coarser (78 bins)
        uniform: Part = 0.5,  # lambda: share of the uniform distribution in the prior, paper; 1 weighs all alike
        hidden: Count = 256,  # channels of the decoder; paper's last layers 256
        resolution: Count | None = None,  # side of the grid of colours, at least; paper a quarter of the view
        temperature: Positive = 0.38,  # T of the annealed mean in outputs.png, paper section 2.3
        augmentation: str = "crop-flip",  # name of a view recipe; paper: crops of 176 px and flips
    ) -> None:
        super().__init__(pooled(encoder))
        if resolution is None:
            raise RecipeError("colorization: resolution is not set; pass it or take Colorization.resolve's")
        self.neighbours, self.spacing, self.uniform, self.hidden = neighbours, spacing, uniform, hidden
        self.resolution, self.temperature, self.augmentation = resolution, temperature, augmentation
        self.bins = ColourBins(spacing, neighbours)
        self.decoder = Upsampler(encoder, hidden=hidden, out=len(self.bins), resolution=resolution)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px our own, above the paper's (train/readme; there it is 14 epochs of ImageNet)."""
        if size <= SMALL:
            return Training("adamw", lr=1e-3, lr_batch=256, weight_decay=1e-3, batch=256, epochs=100, quick=1.0)
        return Training("adamw", lr=3e-5, lr_batch=40, beta2=0.99, weight_decay=1e-3, batch=40, epochs=100)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """The grid of colours by the size of the views. RecipeError for pictures that are not red, green and blue."""
        if facts.channels != 3:
            have = f"these have {facts.channels}; take a method that needs no colours, such as simclr"
            raise RecipeError(f"colorization needs pictures of 3 channels, red, green and blue, and {have}")
        return {"resolution": (max(8, min(28, facts.size // 8)), "an eighth of the view, 8 at least, 28 at most")}

    def prepare(self, data: Prepared) -> None:
        """Measure the prior on whole training pictures; DataError when all are grey, a warning when many are."""
        seen, pale, total = self.views(self.encoder.size), list[bool](), torch.zeros([len(self.bins)] * 2).double()
        for image in data.some(MEASURED):
            facts = seen.split(whole(image, seen.size))
            pale.append(bool(np.abs(facts["ab"]).max() <= GREY * PER_UNIT))
            total += (1 - int(facts["grey"])) * self.bins.histogram(torch.from_numpy(facts["ab"]) / PER_UNIT)
        if all(pale):
            raise DataError("no training picture has colours to learn: use simclr or such, with another --out")
        if sum(pale) > 0.1 * len(pale):  # people should know
            data.say(f"{sum(pale)} of {len(pale)} training pictures are grey or nearly so and teach colours little")
        self.bins.measured(total, self.uniform)

    def views(self, size: int) -> Lightness:
        """Lightness as pixels, colours as facts."""
        return Lightness(self.augmentation, size, self.decoder.grid, self.encoder.low, self.encoder.high)

    def project(self, batch: Batch) -> Projections:
        """Logits of the bins at every location, (B, Q, h, w)."""
        return {"logits": self.decoder(self.encoder.patches(batch["lightness"]))}

    def targets(self, batch: Batch) -> Projections:
        """The soft code of every location's colour: k bins, nearest first, and their shares, (B, k, h, w)."""
        nearest, shares = self.bins.codes(batch["ab"].float() / PER_UNIT)
        return {"nearest": nearest.movedim(-1, 1), "shares": shares.movedim(-1, 1)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy to the codes, weighted by the nearest bin: mean over the locations of all views with colour."""
        logits, nearest = projections["logits"], projections["nearest"][:, 0]
        each = soft_cross_entropy(logits, projections["nearest"], projections["shares"])  # (B, h, w)
        kept = (1 - batch["grey"])[:, None, None].expand_as(each)
        count = kept.sum().to(each).clamp(min=1e-12)  # all grey: a loss of 0 and not of 0 / 0
        values = {"loss": each * rebalanced(self.bins.prior, self.uniform)[nearest], "cross_entropy": each.detach()}
        values["accuracy"] = logits.argmax(dim=1) == nearest
        means = {name: distributed.mean((value * kept).sum().to(each), count) for name, value in values.items()}
        return means | {"grey": 1 - kept.to(each).mean()}

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """Each view in grey, and in the colours of the annealed mean."""
        ab = self.bins.mean_colour(self.project(batch)["logits"], self.temperature).movedim(1, -1).cpu().numpy()
        seen, lightness = self.views(self.encoder.size), batch["lightness"].cpu().numpy()
        made = {"grey": np.zeros_like(ab), "coloured": ab}  # (B, h, w, 2)
        return {name: np.stack([*map(seen.join, lightness, colours)]) for name, colours in made.items()}

    def chance(self, batch: int) -> float:
        """Of the best that can be said of all places alike: the entropy of what is wanted, times the mean weight."""
        return float(self.bins.wanted.sum() * entropy(self.bins.wanted))

    def floor(self, batch: int) -> float:
        """Of colours at the centres of bins that weigh 1; a batch's own is the weighted mean entropy of its codes."""
        return self.bins.entropy()
