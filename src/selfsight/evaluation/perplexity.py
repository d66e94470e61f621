"""How well the next word of unseen documents is told, beside what the frequencies of words alone tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable
from selfsight.evaluation import intervals
from selfsight.nn.embedder import Embedder
from selfsight.nn.words import Words

DOCUMENTS = 1000  # at most


def measure(
    encoder: Embedder, documents: Readable, rows: Int[np.ndarray, "Q"], groups: Int[np.ndarray, "Q"]
) -> dict[str, Any]:
    """Perplexity of at most 1,000 of these documents, each weighing the same; of frequencies on the same words too.

    The ratio of the two has a 95 % interval, by the bootstrap over groups. {} where the encoder tells no words.
    """
    if not isinstance(encoder, Words):
        return {}
    chosen = np.sort(keyed(0, 3, Purpose.MONITOR).permutation(len(rows))[:DOCUMENTS])
    costs = np.stack([encoder.costs(documents.read(int(rows[place]))[0]) for place in chosen])  # (Q, 2) nats
    own, unigram = np.exp(costs.mean(axis=0))
    told = f"The next word of {len(chosen)} documents: perplexity {own:.1f}; of word frequencies alone {unigram:.1f}"
    ends = intervals.of_mean(costs[:, 0] - costs[:, 1], groups[chosen])
    ratio = np.exp(ends).tolist() if np.isfinite(ends).all() else None
    told += f"; their ratio {own / unigram:.3f}, 95 % interval {ratio[0]:.3f} to {ratio[1]:.3f}." if ratio else "."
    return {"perplexity": {"encoder": float(own), "unigram": float(unigram), "ratio": ratio}, "sentence": told}
