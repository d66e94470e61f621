"""dVAE: each patch of a picture becomes one of V codes, from which the picture is drawn again.

The tokenizer of BEiT (Bao, Dong, Piao & Wei 2022, arXiv 2106.08254): the discrete variational autoencoder of Ramesh et
al. 2021, arXiv 2102.12092, trained here on your own pictures. While it learns, a patch is a soft mixture of codes,
sharper and sharper (Gumbel-softmax, Jang, Gu & Poole 2017). In place of the paper's convolutions the encoder of the
recipe names the patches, so that codes and patches share a grid and the result is an encoder too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, log, pi
from typing import Any, final

import numpy as np
from torch import nn

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import divergence_from_even, entropy
from selfsight.losses.precision import full
from selfsight.losses.reconstruction import error_and_power
from selfsight.methods.base import Amount, Batch, Count, Facts, Method, Positive, Projections, Several, Terms, Training
from selfsight.nn.decoder import Decoder
from selfsight.nn.encoder import Encoder
from selfsight.nn.gumbel import gumbel
from selfsight.nn.patches import patchify, pooled
from selfsight.nn.tokenizers import LearnedTokenizer, affordable, counted, drawn, mean_colour
from selfsight.views.draw import Views
from selfsight.views.keyed import Keyed
from selfsight.views.recipes import multi_view


@final
class DVAE(Method):
    """Name each patch by a code so that the picture can be drawn again from the codes."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        codes: Several | None = None,  # V; paper 8192, here 1024 for small views and fewer for few pictures
        width: Count = 128,  # of a code's vector, ours; the paper's decoder begins with 128
        temperature: Positive = 0.1,  # of the mixture in the end, from 1 by a cosine over the first half; paper 1/16
        beta: Amount = 1e-3,  # of KL(codes || even use), ramped up over the first tenth; beside an error of 1 at first
        augmentation: str = "zoom-flip",  # name of a view recipe
    ) -> None:
        super().__init__(pooled(encoder))
        if codes is None:
            raise RecipeError("dvae: codes is automatic and not set; pass it or take DVAE.resolve's")
        self.codes, self.width, self.temperature = codes, width, temperature
        self.beta, self.augmentation = beta, augmentation
        self.logits = nn.Linear(encoder.maps, codes)
        self.vectors = nn.Linear(codes, width, bias=False)
        self.side = encoder.patch(encoder.size)
        self.decoder = Decoder(width, self.side**2 * encoder.channels, encoder.grid(encoder.size))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """AdamW at 1e-3 for 50 epochs, which is ours: the paper's 3,000,000 steps at 1e-4 have no small counterpart."""
        return Training(
            "adamw", lr=1e-3, least=1e-3, weight_decay=1e-4, batch=256, epochs=50,
            encoder="vit_tiny_patch16_224", clip=3.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How many codes."""
        return {"codes": affordable(facts.size, facts.count, settings.get("codes"))}

    def tokenizer(self) -> LearnedTokenizer:
        """A frozen copy of what names the patches: the code of the largest logit."""
        return LearnedTokenizer(self.encoder, self.logits, None, self.codes)

    def views(self, size: int) -> Views:
        """One draw, and a key for its noise."""
        return Keyed(multi_view(self.augmentation, size, views=1))

    def project(self, batch: Batch) -> Projections:
        """Name the patches, mix the codes' vectors by a relaxed sample of the names, and draw the picture from that."""
        logits = full(self.logits(self.encoder.patches(batch["views"][:, 0])))  # (B, L, V)
        sharp = 1 + (self.temperature - 1) * (1 - cos(pi * min(1.0, 2 * self.progress))) / 2
        sample = ((logits + gumbel(batch["key"], *logits.shape[1:])) / sharp).softmax(dim=-1)
        made = self.decoder(self.vectors(sample))
        return {"made": made, "divergence": divergence_from_even(logits), "codes": logits.argmax(dim=-1)}

    def targets(self, batch: Batch) -> Projections:
        """The normalised pixels of each patch, as the encoder sees them."""
        return {"pixels": patchify(self.encoder.normalised(batch["views"][:, 0]), self.side)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """The share of the pixels that is not explained, and beta times the mean divergence from even use."""
        colour = mean_colour(projections["pixels"], self.encoder.channels)
        error = distributed.mean(*error_and_power(projections["made"], projections["pixels"], colour))
        divergence = projections["divergence"].mean()
        loss = error + self.beta * min(1.0, 10 * self.progress) * divergence
        used = entropy(counted(projections["codes"], self.codes)).exp()
        return {"loss": loss, "error": error.detach(), "divergence": divergence.detach(), "perplexity": used}

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """The pictures as they are drawn from their codes."""
        return {"drawn again": drawn(self.encoder, self.project(batch)["made"], batch["views"][:, 0])}

    def chance(self, batch: int) -> float:
        """The loss of drawing the mean colour from codes that say nothing."""
        return 1.0

    def floor(self, batch: int) -> float:
        """The loss of the pictures themselves, drawn from codes that are certain."""
        return self.beta * log(self.codes)
