"""VQ: each patch of a picture is given the nearest of V vectors, from which the picture is drawn again.

van den Oord, Vinyals & Kavukcuoglu 2017, "Neural Discrete Representation Learning", arXiv 1711.00937: the encoder
learns straight through the choice, the codebook follows the mean of what was assigned to it. Here the encoder of the
recipe names the patches, so that it can be the tokenizer of BEiT and an encoder too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from torch import nn

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.commitment import commitment
from selfsight.losses.precision import full
from selfsight.losses.reconstruction import error_and_power
from selfsight.methods.base import Batch, Facts, Method, Prepared, Projections, Terms, Training
from selfsight.nn.codebook import Codebook, nearest, passed_through
from selfsight.nn.decoder import Decoder
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import patchify, pooled
from selfsight.nn.tokenizers import LearnedTokenizer, affordable, counted, drawn, looked_at, mean_colour, rows_of
from selfsight.recipe import Amount, Count, Decay, Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view


@final
class VQ(Method):
    """Give each patch the nearest of V vectors so that the picture can be drawn again from these."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        codes: Several | None = None,  # V; BEiT 8192, here 1024 for small views and fewer for few pictures
        width: Count = 32,  # of a vector; BEiT v2, whose ablation prefers few
        decay: Decay = 0.99,  # of the codebook's running means, appendix A.1
        beta: Amount = 0.25,  # of the commitment, section 3.2
        augmentation: str = "zoom-flip",  # name of a view recipe
    ) -> None:
        super().__init__(pooled(encoder))
        if codes is None:
            raise RecipeError("vq: codes is automatic and not set; pass it or take VQ.resolve's")
        self.codes, self.width, self.decay, self.beta, self.augmentation = codes, width, decay, beta, augmentation
        self.rows = nn.Linear(encoder.maps, width)
        self.codebook = Codebook(codes, width)
        self.side = encoder.patch(encoder.size)
        self.decoder = Decoder(width, self.side**2 * encoder.channels, encoder.grid(encoder.size))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """AdamW at 1e-3 for 50 epochs, which is ours: at 3e-4 150 steps left a third more unexplained."""
        return Training(
            "adamw", lr=1e-3, least=1e-3, weight_decay=1e-4, batch=256, epochs=50,
            encoder="vit_tiny_patch16_224", clip=3.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How many codes."""
        return {"codes": affordable(facts.size, facts.count, settings.get("codes"))}

    def tokenizer(self) -> LearnedTokenizer:
        """A frozen copy of what names the patches: the nearest vector."""
        return LearnedTokenizer(self.encoder, self.rows, self.codebook, self.codes)

    def prepare(self, data: Prepared) -> None:
        """Start the codebook at the k-means centres of what the untrained encoder makes of some pictures."""
        looked = looked_at(data.some, self.views(self.encoder.size), self.encoder, data.seed)
        self.codebook.begin(rows_of(self.encoder, self.rows, looked, self.codes, self.decoder.places), data.seed)

    def views(self, size: int) -> Views:
        """One draw."""
        return multi_view(self.augmentation, size, views=1)

    def project(self, batch: Batch) -> Projections:
        """Choose the nearest vectors, draw the picture from them; the gradient goes straight through the choice."""
        rows = full(self.rows(self.encoder.patches(batch["views"][:, 0])))  # (B, L, P)
        codes = nearest(rows, self.codebook.vectors)
        made = self.decoder(passed_through(rows, self.codebook.vectors[codes]))
        return {"made": made, "rows": rows, "codes": codes}

    def targets(self, batch: Batch) -> Projections:
        """The normalised pixels of each patch, as the encoder sees them."""
        return {"pixels": patchify(self.encoder.normalised(batch["views"][:, 0]), self.side)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """The share of the pixels that is not explained, and beta times the distance to the chosen vectors."""
        colour = mean_colour(projections["pixels"], self.encoder.channels)
        error = distributed.mean(*error_and_power(projections["made"], projections["pixels"], colour))
        distance = commitment(projections["rows"], self.codebook.vectors[projections["codes"]]).mean()
        used = entropy(counted(projections["codes"], self.codes)).exp()
        loss = error + self.beta * distance
        return {"loss": loss, "error": error.detach(), "commitment": distance.detach(), "perplexity": used}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """The codebook follows what was assigned to it."""
        first = int(distributed.gather(batch["position"])[0])  # of the whole batch, on every rank
        self.codebook.follow(projections["rows"].flatten(0, 1), projections["codes"].flatten(), self.decay, first)

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """The pictures as they are drawn from their codes."""
        return {"drawn again": drawn(self.encoder, self.project(batch)["made"], batch["views"][:, 0])}

    def chance(self, batch: int) -> float:
        """The loss of drawing the mean colour from vectors that are met exactly."""
        return 1.0

    def floor(self, batch: int) -> float:
        """The loss of the pictures themselves, drawn from vectors that are met exactly."""
        return 0.0
