"""BEiT: name the code of each hidden patch from the patches around it.

Bao, Dong, Piao & Wei 2022, "BEiT: BERT Pre-Training of Image Transformers", arXiv 2106.08254, and the released code.
Blocks of patches give way to one learned vector; a frozen tokenizer, trained on your pictures alone, names what was in
them (`vq`, `dvae` as in the paper, `vqkd` of BEiT v2, arXiv 2208.06366, or `kmeans`): numbers do not compare. Nor does
the network, timm's: the code's has relative positions, LayerScale, drop-path, and block l starts smaller by sqrt(2l).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, final

import numpy as np

from selfsight import distributed
from selfsight.errors import RecipeError, unknown
from selfsight.losses.code_usage import entropy
from selfsight.losses.masked_codes import masked_cross_entropy
from selfsight.methods.base import Batch, Count, Facts, Method, Prepared, Projections, Several, Terms, Training, Within
from selfsight.nn import patches, tokenizers
from selfsight.nn.encoder import Encoder
from selfsight.nn.hidden import HiddenPatches, hidden_places
from selfsight.views.draw import Views
from selfsight.views.masks import Blocks, Masked, blocks
from selfsight.views.recipes import multi_view

TOKENIZERS, TEACHER = ("dvae", "kmeans", "vq", "vqkd"), "simclr"


@final
class BEiT(Method):
    """Name the codes of hidden patches."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        before: Method | None = None,
        tokenizer: str = "vq",  # or dvae (the paper's), vqkd; kmeans needs no training. docs/decisions.md: why vq
        codes: Several | None = None,  # V; paper 8192, here 1024 for small views and fewer for few pictures
        teacher: str = TEACHER,  # method that trains tokenizer=vqkd's teacher anew; a finished run cannot be one
        share: Annotated[float, Within(0, 0.9, above=True)] | None = None,  # hidden at most; paper 0.4, code 75 of 196
        block: Count | None = None,  # area of the smallest block, patches; released code 16, here 4 for small views
        exact: bool = False,  # hide the whole share; the released code often stops a little earlier
        augmentation: str = "zoom-flip",  # name of a view recipe
    ) -> None:
        super().__init__(patches.pooled(encoder))
        if codes is None or share is None or block is None:
            raise RecipeError("beit: some settings are automatic and not set; pass them or take BEiT.resolve's")
        self.tokenizer, self.teacher, self.codes, self.share = tokenizer, teacher, codes, share
        self.block, self.exact, self.augmentation = block, exact, augmentation
        self.names, self.coder = HiddenPatches(encoder, codes), tokenizers.of(before, tokenizer, codes, encoder)
        self.mask = Blocks.over(encoder.grid(encoder.size), share, block, exact)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """The README's for ImageNet-1K, ending at 0, not at 1e-5; up to 96 px a peak rate of 5e-4 at least is ours."""
        return Training(
            "adamw", lr=1.5e-3, lr_batch=2048, least=5e-4 if size <= 96 else 0.0, momentum=0.9, beta2=0.98, batch=256,
            weight_decay=0.05, epochs=400 if size <= 96 else 800, encoder="vit_tiny_patch16_224", warmup=10.0, clip=3.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How many codes, how much is hidden, the smallest block. RecipeError for a tokenizer that there is not."""
        if settings.get("tokenizer", "vq") not in TOKENIZERS:
            raise RecipeError(unknown("tokenizer", str(settings["tokenizer"]), TOKENIZERS))
        if settings.get("tokenizer") != "vqkd" and settings.get("teacher", TEACHER) != TEACHER:
            raise RecipeError("beit: only the tokenizer vqkd has a teacher; add --set tokenizer=vqkd, or leave it out")
        return {"codes": tokenizers.affordable(facts.size, facts.count, settings.get("codes")), **blocks(facts.size)}

    @classmethod
    def first(cls, settings: Mapping[str, Any]) -> str | None:
        """The tokenizer, unless it needs no training."""
        return None if settings["tokenizer"] == "kmeans" else str(settings["tokenizer"])

    @classmethod
    def first_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """It has as many codes, and VQ-KD this teacher."""
        return {key: settings[key] for key in ("codes", "teacher") if key == "codes" or settings["tokenizer"] == "vqkd"}

    def prepare(self, data: Prepared) -> None:
        """Count how often each code occurs, and tell what naming them by that alone would give."""
        looked = tokenizers.looked_at(data.some, self.views(self.encoder.size), self.encoder, data.seed)
        data.say(tokenizers.begun(self.coder, looked, self.mask.count, data.seed))

    def views(self, size: int) -> Views:
        """One draw, and a mask of blocks."""
        return Masked(multi_view(self.augmentation, size, views=1), self.mask)

    def project(self, batch: Batch) -> Projections:
        """Put the learned vector in the place of hidden patches, and name the code of each."""
        return {"logits": self.names(self.encoder, batch["views"][:, 0], batch["hidden"], self.mask.count)}  # (B, M, V)

    def targets(self, batch: Batch) -> Projections:
        """The code of every patch, hidden or not: the tokenizer sees the whole picture."""
        return {"codes": self.coder.codes(self.encoder.normalised(batch["views"][:, 0]))}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy at hidden places, mean over all of the whole batch; beside it, naming by frequency alone."""
        places, masked = hidden_places(batch["hidden"], self.mask.count)
        codes, logits, count = projections["codes"].gather(1, places), projections["logits"], masked.sum()
        right = distributed.mean(((logits.argmax(dim=-1) == codes) & masked).sum().float(), count)
        guess = distributed.mean(-(self.coder.shares[codes].log() * masked).sum(), count)
        loss = distributed.mean(masked_cross_entropy(logits, codes, masked), count)
        used = entropy(tokenizers.counted(projections["codes"], self.codes)).exp()
        return {"loss": loss, "accuracy": right, "by_frequency": guess, "perplexity": used}

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What is left of the pictures."""
        return {"hidden": tokenizers.covered(self.encoder, batch["views"][:, 0], batch["hidden"])}

    def chance(self, batch: int) -> float:
        """The loss of naming codes by their frequency alone: log V before it is known."""
        return float(entropy(self.coder.shares))

    def floor(self, batch: int) -> float:
        """The loss of certainty about every code."""
        return 0.0
