"""VQ-KD: each patch is given the nearest of V directions, from which a teacher's view of the patch is told.

Peng, Dong, Bao, Ye & Wei 2022, "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers", arXiv
2208.06366, with the code. Its teachers, CLIP and DINO, saw other pictures; ours another method trains first, on yours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import nn

from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.commitment import commitment
from selfsight.losses.precision import unit
from selfsight.methods.base import Batch, Facts, Method, Prepared, Projections, Terms, Training
from selfsight.nn.codebook import UnitCodebook, nearest, passed_through
from selfsight.nn.decoder import Decoder
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.patches import pooled
from selfsight.nn.teacher import Still
from selfsight.nn.tokenizers import LearnedTokenizer, affordable, counted, looked_at, rows_of
from selfsight.recipe import Amount, Count, Decay, Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view


@final
class VQKD(Method):
    """Give each patch the nearest of V directions so that a teacher's features of the patch can be told from these."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        before: Method | None = None,
        teacher: str = "simclr",  # method that trains it anew, no finished run; paper: CLIP, DINO, of other pictures
        codes: Several | None = None,  # V; paper 8192, here 1024 for small views and fewer for few pictures
        width: Count = 32,  # of a direction, paper section 2.1
        decay: Decay = 0.99,  # of the codebook, released code
        beta: Amount = 1.0,  # of the commitment, released code
        augmentation: str = "zoom-flip",  # name of a view recipe
    ) -> None:
        super().__init__(pooled(encoder))
        if codes is None or before is None:
            raise RecipeError("vqkd: it needs its teacher as `before`, and `codes`, which VQKD.resolve chooses")
        self.teacher, self.codes, self.width = teacher, codes, width
        self.decay, self.beta, self.augmentation = decay, beta, augmentation
        self.guide = Still(before.product)
        self.rows = mlp([encoder.maps, encoder.maps, width], norm=False, activation=nn.Tanh)
        self.codebook = UnitCodebook(codes, width)
        self.decoder = Decoder(width, encoder.maps, encoder.grid(encoder.size))
        self.tell = mlp([encoder.maps, encoder.maps, before.product.maps], norm=False, activation=nn.Tanh)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """As released for ImageNet, but for a batch of 512; rate, clip and a decoder of one convolution are ours."""
        return Training(
            "adamw", lr=1e-3, least=1e-3, momentum=0.9, beta2=0.99, weight_decay=1e-4, batch=256, epochs=100,
            encoder="vit_tiny_patch16_224", warmup=10.0, clip=3.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How many codes. RecipeError for a teacher that would need itself."""
        if settings.get("teacher") == "vqkd":
            raise RecipeError("vqkd cannot be its own teacher; use --set teacher=simclr or another method")
        return {"codes": affordable(facts.size, facts.count, settings.get("codes"))}

    @classmethod
    def first(cls, settings: Mapping[str, Any]) -> str | None:
        """The teacher."""
        return str(settings["teacher"])

    def tokenizer(self) -> LearnedTokenizer:
        """A frozen copy of what names the patches: the nearest direction, whatever the length."""
        return LearnedTokenizer(self.encoder, self.rows, self.codebook, self.codes)

    def prepare(self, data: Prepared) -> None:
        """Start the codebook at the k-means centres of what the untrained encoder makes of some pictures."""
        looked = looked_at(data.some, self.views(self.encoder.size), self.encoder, data.seed)
        self.codebook.begin(rows_of(self.encoder, self.rows, looked, self.codes, self.decoder.places), data.seed)

    def views(self, size: int) -> Views:
        """One draw."""
        return multi_view(self.augmentation, size, views=1)

    def project(self, batch: Batch) -> Projections:
        """Choose the nearest directions, tell the features from them; the gradient goes straight through the choice."""
        rows = unit(self.rows(self.encoder.patches(batch["views"][:, 0])))  # (B, L, P)
        codes = nearest(rows, self.codebook.vectors)
        told = self.tell(self.decoder(passed_through(rows, self.codebook.vectors[codes])))
        return {"told": unit(told), "rows": rows, "codes": codes}

    def targets(self, batch: Batch) -> Projections:
        """The teacher's features of each patch, as directions."""
        return {"features": unit(self.guide.module.patches(batch["views"][:, 0]))}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """1 - cosine to the teacher's features, and beta times the distance to the chosen directions."""
        apart = 1 - (projections["told"] * projections["features"]).sum(dim=-1).mean()
        distance = commitment(projections["rows"], self.codebook.vectors[projections["codes"]]).mean()
        used = entropy(counted(projections["codes"], self.codes)).exp()
        loss = apart + self.beta * distance
        return {"loss": loss, "apart": apart.detach(), "commitment": distance.detach(), "perplexity": used}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The codebook turns towards what was assigned to it."""
        self.codebook.follow(projections["rows"].flatten(0, 1), projections["codes"].flatten(), self.decay)

    def chance(self, batch: int) -> float:
        """The loss of features that have nothing to do with the teacher's, from directions that are met exactly."""
        return 1.0

    def floor(self, batch: int) -> float:
        """The loss of the teacher's own features, from directions that are met exactly."""
        return 0.0
