"""LeJEPA: the views of a picture meet at their centre, and embeddings are kept as an isotropic Gaussian's would be.

Balestriero & LeCun 2025, "LeJEPA", arXiv 2511.08544, and the released code rbalestr-lab/lejepa. No teacher, no stopped
gradient, no predictor: a statistical test over random directions, SIGReg, does all that keeps pictures apart. At a
`sigreg` of about 1.05 the projections cannot be told from Gaussian samples; 0.4 times the batch is a collapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.precision import unit
from selfsight.losses.sigreg import sigreg
from selfsight.losses.spread import spread
from selfsight.methods.base import Batch, Count, Facts, Method, Part, Projections, Several, Terms, Training, Whole
from selfsight.nn.crops import taking
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.views.draw import Views
from selfsight.views.multicrop import multi_crop

SMALL = 96  # pixels: up to here ours, four views of one size; above the code's views of two sizes
GAUSSIAN, COLLAPSED = 1.0524641547991607, 0.40204757973166455  # SIGReg of Gaussian samples, and of zeros over N


@final
class LeJEPA(Method):
    """Predict a picture's views by their mean, while all pictures' projections stay Gaussian along any direction."""

    steps: Tensor  # () int64, taken so far: the key of the directions

    def __init__(
        self,
        encoder: Encoder,
        *,
        regularisation: Part = 0.05,  # lambda, the weight of SIGReg, code; 0.02 in its minimal example
        directions: Count | None = None,  # M, fresh at every step; code 1024, 256 in its minimal example
        hidden: Count = 2048,  # width of the projector's hidden layers, code
        width: Count = 64,  # of the projection, lightly; 16 in the minimal example
        global_views: Several | None = None,  # of nearly whole pictures, whose mean is the centre; code 2
        local_views: Whole | None = None,  # small ones, 7/16 of the size; code 6 of 98 px
        augmentation: str | None = None,  # name of a view recipe
        local_augmentation: str = "lejepa-local",  # that of the small views
    ) -> None:
        super().__init__(taking(encoder, local_views, 7 / 16))
        if directions is None or global_views is None or local_views is None or augmentation is None:
            raise RecipeError("lejepa: some settings are automatic and not set; pass them or take LeJEPA.resolve's")
        self.regularisation, self.directions, self.hidden, self.width = regularisation, directions, hidden, width
        self.global_views, self.local_views = global_views, local_views
        self.augmentation, self.local_augmentation = augmentation, local_augmentation
        self.projector = mlp([encoder.width, hidden, hidden, width], norm=True)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px ours, above the code's for a transformer; it falls to a thousandth of the rate, here to 0."""
        if size <= SMALL:
            return Training(
                "adamw", lr=1e-3, lr_batch=256, weight_decay=5e-4, batch=128, epochs=400, warmup=10.0, quick=0.8
            )
        # decay: code 0.05 for transformers, 5e-4 for convolutions such as the usual encoder
        return Training("adamw", lr=5e-4, lr_batch=128, weight_decay=5e-4, batch=128, epochs=100, warmup=1.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Views and how many directions by the size of the views."""
        small = facts.size <= SMALL
        source = "its minimal example" if small else "released code"
        large = {"directions": 1024, "global_views": 2, "local_views": 6, "augmentation": "lejepa"}
        own = {"directions": 256, "global_views": 4, "local_views": 0, "augmentation": "simclr"}
        found = own if small else large
        return {name: (value, source) for name, value in found.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """Large views, and where they are asked for small ones."""
        names, counts = (self.augmentation, self.local_augmentation), (self.global_views, self.local_views)
        return multi_crop(names, (size, round(size * 7 / 16)), counts)

    def project(self, batch: Batch) -> Projections:
        """All views of one size in one encoder batch, and all of them in one batch of the head."""
        pixels = [batch[name] for name in ("views", "crops") if name in batch]  # (B, V, h, w, C) each
        rows = [self.encoder(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in pixels]
        embeddings = torch.cat(rows, dim=1)  # (B, V, F)
        return {"views": self.projector(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Over the views of all ranks: whether they are Gaussian is asked of the whole batch."""
        rows = distributed.gather(projections["views"])  # (N, V, P)
        generator = torch.Generator().manual_seed(int(self.steps))
        directions = unit(torch.randn(self.directions, self.width, generator=generator)).T.to(rows.device)
        gaussian, apart = sigreg(rows.transpose(0, 1), directions), spread(rows, self.global_views)
        loss = self.regularisation * gaussian + (1 - self.regularisation) * apart
        return {"loss": loss, "sigreg": gaussian.detach(), "spread": apart.detach()}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """Other directions next time."""
        self.steps += 1

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector, when that is 0."""
        return self.regularisation * COLLAPSED * batch

    def floor(self, batch: int) -> float:
        """The loss of Gaussian projections that are the same in all views, on average over the directions."""
        return self.regularisation * GAUSSIAN
