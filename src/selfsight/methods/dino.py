"""DINO: from one view say to which prototypes a slowly moving copy of the network assigns the picture's other views.

Caron, Touvron, Misra et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294, and
the code. The teacher sees large views only, and its encoder is kept. The loss stays above `least`, its entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, final

from torch import Tensor, nn, zeros

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.swapped_prediction import sharpened, swapped_prediction
from selfsight.methods.base import Batch, Facts, Group, Method, Projections, Terms, Training, waiting
from selfsight.nn.crops import projected, taking
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.prototypes import Prototypes
from selfsight.nn.teacher import follow, frozen_copy, linear, momentum
from selfsight.recipe import Count, Portion, Positive, Several, Whole
from selfsight.views.draw import Views
from selfsight.views.multicrop import multi_crop

SMALL = 96  # pixels: up to here lightly's CIFAR-10 benchmark, above the released ImageNet recipe


@final
class DINO(Method):
    """Say which prototypes the teacher gives to a picture's other views."""

    centre: Tensor  # (K,): running mean of the teacher's scores

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: Several | None = None,  # K; code 65536, lightly CIFAR 2048
        hidden: Count = 2048,  # width of the head's hidden layers, code
        width: Count = 256,  # of the projection, code
        norm: bool | None = None,  # batch norm in the head; code no, lightly CIFAR yes
        temperature: Positive = 0.1,  # of the student, code
        teacher_temperature: Positive = 0.04,  # reached in 0.3 of training from 0.04; code, paper 0.07 (30 epochs)
        teacher_momentum: Portion | None = None,  # at first, 1 at last; code 0.996, batch 256: 0.9995; CIFAR 0.99
        freeze: Portion = 0.01,  # share of training before prototypes move; code: the first of 100 epochs
        local_views: Whole | None = None,  # small ones, 3/7 of the size; code 8 of 96 px, lightly CIFAR none
        augmentation: str | None = None,  # name of the view recipe of the two large views
    ) -> None:
        super().__init__(taking(encoder, local_views, 3 / 7))
        if not prototypes or norm is None or teacher_momentum is None or local_views is None or not augmentation:
            raise RecipeError("dino: some settings are automatic and not set; pass them or take DINO.resolve's")
        self.prototypes, self.hidden, self.width, self.norm, self.freeze = prototypes, hidden, width, norm, freeze
        self.teacher_temperature, self.teacher_momentum = teacher_temperature, teacher_momentum
        self.temperature, self.local_views, self.augmentation = temperature, local_views, augmentation
        projector = mlp([encoder.width, hidden, hidden, width], norm=norm, activation=nn.GELU, deviation=0.02)  # code
        self.head = nn.Sequential(projector, Prototypes(width, prototypes))
        self.teacher = frozen_copy(nn.Sequential(encoder, self.head))
        self.register_buffer("centre", zeros(prototypes))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px after lightly's CIFAR-10 (there two layers), above the code's but for batch and dropped paths."""
        if size <= SMALL:
            return Training("sgd", lr=0.06, lr_batch=128, weight_decay=5e-4, batch=128, epochs=200, quick=0.8)
        return Training("adamw", lr=5e-4, weight_decay=0.04, decay_growth=10.0, epochs=100, warmup=10.0,
                        encoder="vit_small_patch16_224", clip=3.0, clip_each=True)  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Head, teacher and views by the size of the views; large views see more of a picture where they are alone."""
        seen, slow = "dino" + "-alone" * (settings.get("local_views") == 0), 0.9995 if facts.batch <= 256 else 0.996
        large = {"prototypes": 65536, "norm": False, "teacher_momentum": slow, "local_views": 8, "augmentation": seen}
        small = {"prototypes": 2048, "norm": True, "teacher_momentum": 0.99, "local_views": 0, "augmentation": "simclr"}
        found, source = (small, "lightly's CIFAR-10 benchmark") if facts.size <= SMALL else (large, "released code")
        return {name: (value, source) for name, value in found.items() if settings.get(name) is None}

    @property
    def product(self) -> Encoder:
        """The teacher's encoder, which is better than the student's while both learn (paper, section 5.2)."""
        return self.teacher[0]  # type: ignore[return-value]

    def groups(self) -> list[Group]:
        """The prototypes stay as they are for a while."""
        return waiting(self, next(self.head[1].parameters()), self.freeze)

    def views(self, size: int) -> Views:
        """Two large views, and where they are asked for small ones."""
        return multi_crop((self.augmentation, "dino-local"), (size, round(size * 3 / 7)), (2, self.local_views))

    def project(self, batch: Batch) -> Projections:
        """Scores of all views (B, V, K)."""
        return {"scores": projected(self.encoder, self.head, batch)}

    def targets(self, batch: Batch) -> Projections:
        """The teacher's scores of the large views."""
        return {"teacher": projected(self.teacher[0], self.teacher[1], {"views": batch["views"]})}  # (B, 2, K)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """With the centre of the steps before."""
        temperature = linear(self.progress / 0.3, 0.04, self.teacher_temperature)
        shares = sharpened(projections["teacher"], self.centre, temperature=temperature)
        loss = swapped_prediction(projections["scores"], shares, temperature=self.temperature)
        return {"loss": loss, "least": entropy(shares).mean(), "perplexity": entropy(shares.mean(dim=(0, 1))).exp()}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The teacher follows, and the centre."""
        follow(self.teacher, nn.Sequential(self.encoder, self.head), momentum(self.progress, self.teacher_momentum))
        self.centre.lerp_(distributed.average(projections["teacher"].mean(dim=(0, 1))), 0.1)  # code

    def chance(self, batch: int) -> float:
        """The loss of a student to whom all prototypes are alike: log K."""
        return log(self.prototypes)

    def floor(self, batch: int) -> float:
        """The loss, without `least`, of a student that answers as the teacher does."""
        return 0.0
