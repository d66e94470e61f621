"""MAE: from a quarter of a picture's patches tell the pixels of the others.

He, Chen, Xie, Li, Dollár & Girshick 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377, and the
released code. The encoder sees nothing of what is hidden, so a step is cheap; a small decoder does the telling and is
thrown away. Features are poor for neighbours and linear probes by nature: fine-tune to judge. Positions in the encoder
are timm's, which learn; the paper's are fixed waves, as the decoder's are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, final

import numpy as np

from selfsight.errors import RecipeError
from selfsight.losses.masked_pixels import masked_pixels, standardised
from selfsight.methods.base import Batch, Count, Facts, Method, Projections, Terms, Training, Within
from selfsight.nn import patches, tokenizers
from selfsight.nn.encoder import Encoder
from selfsight.nn.hidden import hidden_places
from selfsight.nn.predictor import Predictor
from selfsight.views.draw import Views
from selfsight.views.masks import Masked, Scattered
from selfsight.views.recipes import multi_view

SMALL = 96  # pixels: up to here a decoder that suits few patches


@final
class MAE(Method):
    """Draw what is hidden."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        share: Annotated[float, Within(0, 1, above=True)] = 0.75,  # hidden, paper
        norm_pixels: bool = True,  # tell each patch less its mean over its deviation, paper table 1d
        decoder_width: Count | None = None,  # paper 512, here 192 for small views
        decoder_depth: Count | None = None,  # paper 8, here 4 for small views
        decoder_heads: Count | None = None,  # paper 16, here 3 for small views
        augmentation: str | None = None,  # name of a view recipe
    ) -> None:
        super().__init__(patches.pooled(encoder))
        if decoder_width is None or decoder_depth is None or decoder_heads is None or augmentation is None:
            raise RecipeError("mae: the decoder and the views are automatic and not set; take MAE.resolve's")
        encoder.must_hide()
        self.share, self.norm_pixels, self.augmentation = share, norm_pixels, augmentation
        self.decoder_width, self.decoder_depth, self.decoder_heads = decoder_width, decoder_depth, decoder_heads
        grid, self.side = encoder.grid(encoder.size), encoder.patch(encoder.size)
        self.mask, self.pixels = Scattered.over(grid, share), self.side**2 * encoder.channels
        self.decoder = Predictor(
            encoder.maps, self.pixels, grid, width=decoder_width, depth=decoder_depth, heads=decoder_heads
        )

    @classmethod
    def defaults(cls, size: int) -> Training:
        """The released recipe; for small views solo-learn's for CIFAR (there 1000 epochs, 10 of them to warm up), whose
        rate here does not fall below 5e-4."""
        small = size <= SMALL  # batch: paper 4096
        return Training(
            "adamw", lr=1.6e-3 if small else 1.2e-3, lr_batch=2048, least=5e-4 if small else 0.0, momentum=0.9,
            beta2=0.95, weight_decay=0.05, batch=256, epochs=400 if small else 800, encoder="vit_tiny_patch16_224",
            warmup=40.0,
        )  # fmt: skip

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Decoder and views by the size of the views."""
        large = {"decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16, "augmentation": "crop-flip"}
        small = {"decoder_width": 192, "decoder_depth": 4, "decoder_heads": 3, "augmentation": "zoom-flip"}
        found, source = (small, "few patches; views of solo-learn") if facts.size <= SMALL else (large, "paper")
        return {name: (value, source) for name, value in found.items() if settings.get(name) is None}

    def views(self, size: int) -> Views:
        """One draw, and which patches are hidden."""
        return Masked(multi_view(self.augmentation, size, views=1), self.mask)

    def project(self, batch: Batch) -> Projections:
        """Encode what is left, tell what is hidden."""
        hidden, count = batch["hidden"], self.mask.count
        seen, asked = hidden_places(1 - hidden, hidden.shape[1] - count)[0], hidden_places(hidden, count)[0]
        vectors = self.encoder.patches(batch["views"][:, 0], keep=seen)  # (B, L - M, D)
        return {"told": self.decoder(vectors, seen, asked)}  # (B, M, P)

    def targets(self, batch: Batch) -> Projections:
        """The pixels of hidden patches, on the scale that the encoder sees."""
        rows = patches.patchify(self.encoder.normalised(batch["views"][:, 0]), self.side)
        rows = patches.at(rows, hidden_places(batch["hidden"], self.mask.count)[0])
        return {"pixels": standardised(rows) if self.norm_pixels else rows}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Squared error of the hidden patches."""
        return {"loss": masked_pixels(projections["told"], projections["pixels"])}

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What is left of the pictures, and what is told of the rest, at each patch's true mean and deviation."""
        views, hidden = batch["views"][:, 0], batch["hidden"]
        places = hidden_places(hidden, self.mask.count)[0][..., None].expand(-1, -1, self.pixels)
        rows, told = patches.patchify(self.encoder.normalised(views), self.side), self.project(batch)["told"]
        if self.norm_pixels:
            true = rows.gather(1, places)
            told = told * (true.var(dim=-1, keepdim=True) + 1e-6).sqrt() + true.mean(dim=-1, keepdim=True)
        whole = tokenizers.drawn(self.encoder, rows.scatter(1, places, told), views)
        return {"hidden": tokenizers.covered(self.encoder, views, hidden), "told": whole}

    def chance(self, batch: int) -> float | None:
        """The loss of telling each patch's mean, where none is of one colour: 1 - 1 / P."""
        return 1 - 1 / self.pixels if self.norm_pixels else None

    def floor(self, batch: int) -> float:
        """The loss of knowing all."""
        return 0.0
