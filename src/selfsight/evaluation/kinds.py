"""What evaluation does of its own for each kind of sample: rows that need no training, and how a sample is shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.data import text
from selfsight.embedding.embed import Readable
from selfsight.evaluation import baselines, leaks, perplexity
from selfsight.nn.embedder import Embedder
from selfsight.views.sheet import thumbnail

SIDE = 64  # of a picture that is shown, pixels
BEGINNING = 240  # letters of a document that are shown

Plain = Callable[[Iterable[np.ndarray], Bool[np.ndarray, "N"]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Kind:
    """`plain` makes rows of the table from samples (or views) and which of them train; `more` adds to the table.

    `grid` is what copies of a sample are told by (empty: copies that are not the same file are not looked for).
    """

    plain: Plain
    grid: Callable[[np.ndarray], Float[np.ndarray, "S S C"]]
    shown: Callable[[np.ndarray], dict[str, str]]
    more: Callable[[Embedder, Readable, Int[np.ndarray, "Q"], Int[np.ndarray, "Q"]], dict[str, Any]]


def kind_of(name: str, low: float, high: float) -> Kind:
    """What is done for samples of `data.kinds`; `low` and `high` are the range of pictures' values."""
    if name == "documents":
        return Kind(
            lambda samples, train: {"bag_of_words": baselines.bag_of_words(samples, train)},
            lambda sample: np.zeros((0, 0, 0)),
            lambda sample: {"text": " ".join(text.text(sample)[: 2 * BEGINNING].split())[:BEGINNING]},
            perplexity.measure,
        )
    return Kind(
        lambda samples, train: baselines.both(samples, train, low=low, high=high),
        lambda sample: leaks.grid(sample, low, high),
        lambda sample: {"image": b64encode(thumbnail(sample, SIDE)).decode()},
        lambda encoder, samples, rows, groups: {},
    )
