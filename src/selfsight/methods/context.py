"""Context: three words of a document tell the word that follows.

Next-word prediction with a sliding window: X[n-2], X[n-1], X[n] tell X[n+1]. A second relation, X[n-1], X[n], X[n+1]
tell X[n+2], is the same one shifted by a word, with the true X[n+1] (`--set horizon=2`): from the same three words it
is not asked. It learns from documents (.txt); what is kept is the network of words, whose embedding of a document is a
mean over its words. Perplexity is told beside that of word frequencies alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from torch.nn.functional import cross_entropy

from selfsight.data import text
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.precision import full
from selfsight.methods.base import Batch, Method, Prepared, Projections, Terms, Training
from selfsight.nn.words import SEEN, Words
from selfsight.views.draw import Views

MISSED = 0.25  # share of <unk> from which on more words should be known
REMEDY = "a larger one, such as --encoder words16384, knows more"
UNKNOWN = -2  # the key of a word that is dropped: no word's, so it is <unk>


@dataclass(frozen=True)
class Windows:
    """Windows of a document, all places alike; none twice while there are enough, and none across its ends."""

    count: int
    horizon: int
    dropout: float

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`{"windows": (W, 3 + horizon), "seen": the same with words dropped}`, keys of words."""
        keys = text.keys(image)
        length = SEEN + self.horizon
        places = len(keys) - length + 1
        starts = generator.choice(places, self.count, replace=places < self.count)
        windows = keys[starts[:, None] + np.arange(length)]
        dropped = generator.random(windows.shape) < self.dropout
        return {"windows": windows, "seen": np.where(dropped, UNKNOWN, windows)}


@final
class Context(Method):
    """Tell the next word of a document from the three before it."""

    kind = "documents"
    encoder: Words  # type: ignore[assignment]

    def __init__(
        self,
        encoder: Words,
        *,
        horizon: int = 1,  # relations: 1, or 2 with the shifted one, which is given the true word between
        windows: int = 16,  # drawn from each document; 64 documents make a batch of 1024
        dropout: float = 0.1,  # chance that a word is not seen; drawn with the window, so that every rank agrees
        tied: bool = False,  # the rows of the words are the weights of the output too
    ) -> None:
        super().__init__(encoder)  # type: ignore[arg-type]
        if horizon not in (1, 2):
            raise RecipeError(f"horizon cannot be {horizon}: 1 is the next word, 2 the one after it as well")
        if windows < 1 or not 0 <= dropout < 1:
            raise RecipeError("context takes one window a document or more, and a dropout from 0 to below 1")
        self.horizon, self.windows, self.dropout, self.tied = horizon, windows, dropout, tied
        if tied:
            encoder.tie()

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Ours, for nothing is published on it."""
        return Training("adamw", lr=1e-3, lr_batch=64, weight_decay=0.01, batch=64, epochs=20, encoder="words4096")

    def prepare(self, data: Prepared) -> None:
        """The vocabulary: the commonest words of the training documents."""
        self.encoder.learn(data.images())
        missed = float(self.encoder.frequency[0])
        if missed > MISSED:
            data.say(f"{missed:.0%} of what the documents say are words outside the vocabulary; {REMEDY}")

    def views(self, size: int) -> Views:
        """Windows, wherever in the document they lie: `size` is of the evaluation view."""
        return Windows(self.windows, self.horizon, self.dropout)

    def project(self, batch: Batch) -> Projections:
        """What is expected to follow each three words, (B, W, horizon, V)."""
        seen = batch["seen"].unfold(-1, SEEN, 1)[:, :, : self.horizon]  # (B, W, horizon, 3)
        return {"next": self.encoder.logits(seen)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy over the vocabulary, mean over windows and relations; beside it that of frequencies alone."""
        rows = self.encoder.row(batch["windows"][..., SEEN:])  # (B, W, horizon)
        logits = full(projections["next"]).masked_fill(~self.encoder.used, float("-inf"))
        loss = cross_entropy(logits.flatten(0, 2), rows.flatten())
        return {"loss": loss, "perplexity": loss.detach().exp(), "unigram": self.encoder.surprise(rows).mean().exp()}

    def chance(self, batch: int) -> float:
        """The loss of naming words by their frequency alone: at most log V."""
        return float(entropy(self.encoder.frequency))

    def floor(self, batch: int) -> float:
        """0: every window is known by heart. (Two windows that begin alike and go on apart leave more.)"""
        return 0.0
