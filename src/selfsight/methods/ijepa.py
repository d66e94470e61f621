"""I-JEPA: from one part of a picture tell what a slowly moving copy of the network makes of other parts.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun & Ballas 2023, "Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture", arXiv 2301.08243, and the released code. Nothing but crops is varied: neither
colour nor mirror images are forgotten. The teacher's encoder is what is kept. Nothing pushes pictures apart, so a loss
near 0 in the first epochs is a collapse, which the guard names. Positions in the encoder are timm's, which learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from selfsight.errors import RecipeError
from selfsight.losses.latent_prediction import latent_prediction
from selfsight.methods.base import Batch, Count, Facts, Method, Portion, Projections, Terms, Training
from selfsight.nn import patches
from selfsight.nn.encoder import Encoder
from selfsight.nn.predictor import Predictor
from selfsight.nn.teacher import follow, frozen_copy, linear
from selfsight.views.draw import Views
from selfsight.views.masks import Regions
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here a predictor that suits few patches
UNAWARE = 0.4246602  # smooth L1 of 0 and a standard normal variable: erf(1 / sqrt(2)) / 2 + phi(1) - P(|t| > 1) / 2


@final
class IJEPA(Method):
    """Tell the teacher's view of blocks of patches from other patches."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        blocks: Count = 4,  # targets of each picture, code
        predictor_width: Count | None = None,  # code 384, here 96 for small views
        predictor_depth: Count | None = None,  # code 6 for ViT-B, 12 for larger; here 4 for small views
        predictor_heads: Count | None = None,  # code 12; here 3 for small views
        teacher_momentum: Portion = 0.996,  # at the start, code
        last_momentum: Portion = 1.0,  # and at the end, along a line, code
        augmentation: str = "ijepa",  # name of a view recipe
    ) -> None:
        super().__init__(patches.pooled(encoder))
        if predictor_width is None or predictor_depth is None or predictor_heads is None:
            raise RecipeError("ijepa: the predictor is automatic and not set; pass its size or take IJEPA.resolve's")
        encoder.must_hide()
        self.blocks, self.augmentation = blocks, augmentation
        self.teacher_momentum, self.last_momentum = teacher_momentum, last_momentum
        self.predictor_width, self.predictor_depth, self.predictor_heads = (
            predictor_width,
            predictor_depth,
            predictor_heads,
        )
        size = {"width": predictor_width, "depth": predictor_depth, "heads": predictor_heads}
        self.predictor = Predictor(encoder.maps, encoder.maps, encoder.grid(encoder.size), **size)
        self.teacher = frozen_copy(encoder)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Above 96 px the code's for ViT-H/14, whose batch is 2048; below ours."""
        small = size <= SMALL
        return Training(
            "adamw", lr=1e-3, lr_batch=512 if small else 2048, least=5e-4 if small else 0.0, batch=256,
            epochs=400 if small else 300, weight_decay=0.05 if small else 0.04, decay_growth=1.0 if small else 10.0,
            encoder="vit_tiny_patch16_224", warmup=20.0 if small else 40.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """The predictor by the size of the views."""
        large = {"predictor_width": 384, "predictor_depth": 6, "predictor_heads": 12}
        small = {"predictor_width": 96, "predictor_depth": 4, "predictor_heads": 3}
        found, source = (small, "few patches") if facts.size <= SMALL else (large, "released code")
        return {name: (value, source) for name, value in found.items() if settings.get(name) is None}

    @property
    def product(self) -> Encoder:
        """The teacher's encoder, which the paper evaluates."""
        return self.teacher

    def views(self, size: int) -> Views:
        """One crop, and which patches are context and targets."""
        return Regions.over(multi_view(self.augmentation, size, views=1), self.encoder.grid(size), self.blocks)

    def project(self, batch: Batch) -> Projections:
        """Encode the context alone; from it tell each block by itself."""
        context, targets = batch["known"], batch["targets"]  # (B, K), (B, T, M)
        vectors = self.encoder.patches(batch["views"][:, 0], keep=context)  # (B, K, D)
        many = [rows.repeat_interleave(self.blocks, dim=0) for rows in (vectors, context)]
        return {"told": self.predictor(*many, targets.flatten(0, 1)).unflatten(0, targets.shape[:2])}  # (B, T, M, D)

    def targets(self, batch: Batch) -> Projections:
        """What the teacher makes of the targets' patches, seeing the whole view."""
        vectors, places = self.teacher.patches(batch["views"][:, 0]), batch["targets"]
        return {"vectors": patches.at(vectors, places.flatten(1)).view(*places.shape, -1)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Distance of what is told from the teacher's vectors."""
        return {"loss": latent_prediction(projections["told"], projections["vectors"])}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The teacher follows."""
        follow(self.teacher, self.encoder, linear(self.progress, self.teacher_momentum, self.last_momentum))

    def chance(self, batch: int) -> float:
        """The loss of telling 0 everywhere, if vectors were Gaussian."""
        return UNAWARE

    def floor(self, batch: int) -> float:
        """The loss of telling what the teacher sees."""
        return 0.0
