"""VDVS: crops of a picture are as alike as they overlap, and their sum is as like the picture as they cover it.

"Vector difference, vector sum", towardsdatascience, and its code evrimozmermer/vectorsum_vectordifference. An error d
costs c(d) = exp(4 |d|) - 1: c(0) = 0, c(+-0.25) = e - 1, and the slope is 4 at 0 (losses/exponential.py).

Half-size crops have a mean IoU of 0.31585; 4 cover 0.5433 of a picture, 7 cover 0.6603 (at 32 px 0.296, 0.560, 0.686).
One cosine of 0.322 for all pairs costs 1.2553 and looks at nothing: `difference` must fall below. No term is between
pictures, which may become alike: R@1 was 74.96 %, 90.69 after 14 epochs, 83.38 after 52. So try --keep best-rankme.
The article fine-tunes: --pretrained --encoder resnet34 --size 224 --batch 4 --lr 1e-5 --for 30epochs --set warmup=0
--set clip=null --set variant=repo --set reduction=literal. Its rate is constant, its pixels in [0, 1]; here not so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn

from selfsight import distributed
from selfsight.data.order import Purpose, keyed
from selfsight.errors import RecipeError, unknown
from selfsight.losses.boxes import answers
from selfsight.losses.exponential import REDUCTIONS, content_blind
from selfsight.losses.vector_difference import vector_difference
from selfsight.losses.vector_sum import vector_sum
from selfsight.methods.base import Amount, Batch, Count, Facts, Method, Prepared, Projections, Several, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import pooled
from selfsight.nn.pooling import mean_plus_max
from selfsight.views.boxed import LOOKED_AT, BoxedCrops, boxed_crops, doubts

SMALL, DRAWN = 96, 16_000  # pixels: up to here K = 4, above 7; pictures, none larger, that `chance` draws boxes for


@final
class VDVS(Method):
    """Regress the cosines of a picture's crops on how much they overlap, and of their sum on what they cover."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        variant: str = "paper",  # half-size crops; "repo": the released geometry, rotation, pooling, and 0 for IoU 1
        reduction: str = "mean",  # or "sum", or "literal": the published line, weighs pairs 441 to 1
        difference_weight: Amount = 1.0,  # article: 1
        sum_weight: Amount = 1.0,  # article: 1
        normalize_before_sum: bool = False,  # article and code sum embeddings as they are
        num_crops: Several | None = None,  # K; article's figure 3, code 7
        width: Count | None = None,  # of the projection; code 1024
        augmentation: str | None = None,  # name of a view recipe, drawn once for a picture and its crops
    ) -> None:
        super().__init__(pooled(encoder) if variant == "repo" else encoder)  # patches
        if num_crops is None or width is None or augmentation is None:
            raise RecipeError("vdvs: some settings are automatic and not set; pass them or take VDVS.resolve's")
        if reduction not in REDUCTIONS:
            raise RecipeError(unknown("vdvs reduction", reduction, REDUCTIONS))
        if num_crops < 2 or difference_weight + sum_weight <= 0:
            raise RecipeError("vdvs needs a pair and a weight: give num_crops from 2 on, and one weight above 0")
        self.variant, self.reduction, self.augmentation = variant, reduction, augmentation
        self.difference_weight, self.sum_weight = difference_weight, sum_weight
        self.normalize_before_sum, self.num_crops, self.width = normalize_before_sum, num_crops, width
        self.projector = nn.Linear(encoder.width, width)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """From scratch, ours: none was published. The clip stands in the released code, commented out."""
        return Training("adamw", lr=1e-3, weight_decay=1e-4, batch=256, epochs=200, warmup=10.0, clip=10.0, quick=1.0)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Crops by the size of the views; all as released in the variant of that name."""
        repo, small = settings.get("variant") == "repo", facts.size <= SMALL
        automatic: dict[str, tuple[Any, str]] = {
            "num_crops": (4, "ours, bounds the cost of small views") if small and not repo else (7, "released code"),
            "width": (1024, "released code") if repo else (256, "ours, from scratch"),
            "augmentation": ("vdvs-repo", "released code") if repo else ("whole", "ours, mirror and mild colour"),
        }
        return {name: value for name, value in automatic.items() if settings.get(name) is None}

    def prepare(self, data: Prepared) -> None:
        """Say of which pictures no crop can tell where it lies."""
        for doubt in doubts(data.some(LOOKED_AT), self.encoder.size):
            data.say(f"vdvs: {doubt}")

    def views(self, size: int) -> BoxedCrops:
        """The picture, K crops of it, and their boxes."""
        return boxed_crops(self.augmentation, size, self.num_crops, self.variant)

    def project(self, batch: Batch) -> Projections:
        """Picture and crops in one encoder batch; projections of any length."""
        pixels = torch.cat([batch["whole"][:, None], batch["crops"]], dim=1).flatten(0, 1)  # (B (1 + K), h, w, C)
        embeddings = self.encoder(pixels) if self.variant == "paper" else mean_plus_max(self.encoder.patches(pixels))
        rows = self.projector(embeddings).unflatten(0, (-1, 1 + self.num_crops))
        return {"whole": rows[:, 0], "crops": rows[:, 1:]}  # (B, P), (B, K, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Both terms, all within a picture. A mean is the ranks' mean; sums are over the pictures of all ranks."""
        rows = [projections["whole"], projections["crops"], batch["boxes"]]
        whole, crops, boxes = rows if self.reduction == "mean" else map(distributed.gather, rows)
        overlap, covered = answers(boxes, batch["whole"].shape[1], released=self.variant == "repo")
        pairs = vector_difference(crops, overlap, self.reduction)
        total = vector_sum(whole, crops, covered, self.reduction, normalize_before_sum=self.normalize_before_sum)
        terms = {"loss": self.difference_weight * pairs + self.sum_weight * total, "difference": pairs.detach()}
        return {**terms, "sum": total.detach(), "overlap": overlap.mean(), "covered": covered.mean()}

    def chance(self, batch: int) -> float:
        """The loss of constant answers, which look at no picture: by the mean 1.2553 for pairs, less for sums."""
        side = min(SMALL, self.encoder.size)
        boxes = torch.from_numpy(self.views(side).boxes(keyed(0, 0, Purpose.VIEWS), (DRAWN, self.num_crops)))
        overlap, covered = answers(boxes, side, released=self.variant == "repo")
        pairs = content_blind(overlap, self.reduction, batch * overlap.shape[1])
        return self.difference_weight * pairs + self.sum_weight * content_blind(covered, self.reduction, batch)

    def floor(self, batch: int) -> float:
        """IoUs of boxes are cosines of some vectors, and some vector has any cosine to their sum: nothing is left."""
        return 0.0
