"""Quality and collapse while training: a fixed few training pictures through the encoder. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfsight.data.loader import View
from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable, vectors_of, whole_views
from selfsight.evaluation import geometry, quality
from selfsight.nn.embedder import Embedder
from selfsight.nn.statistics import estimated

CHUNK = 256
PROTOCOL = "crop-flip"  # of the two views, where there are no labels


class Monitor:
    """At most 2,000 training pictures, drawn once by the seed and kept in memory as evaluation views."""

    def __init__(
        self,
        encoder: Embedder,
        pictures: Readable,
        rows: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray,
        *,
        size: int,
        count: int,
        seed: int,
    ) -> None:
        labelled = rows[labels[rows] >= 0]
        choices = labelled if len(labelled) >= len(rows) // 2 else rows
        chosen = np.sort(keyed(seed, 0, Purpose.MONITOR).permutation(choices)[:count])
        shown = list(whole_views(pictures, chosen, size, CHUNK, encoder.view))
        self.views = torch.cat([views for views, _ in shown])
        kept = np.concatenate([kept for _, kept in shown])
        self.labels, self.groups = labels[kept], groups[kept]
        self.labelled = len(np.unique(self.labels[self.labels >= 0])) > 1
        if not self.labelled:
            self.pairs = _pairs(pictures, kept, encoder.pair(PROTOCOL, size), seed)

    def calibrated(self, encoder: Embedder) -> Embedder:
        """A copy of an untrained encoder with batch statistics of the monitor's pictures, as `evaluate` takes it."""
        return estimated(encoder, torch.split(self.views, CHUNK))

    def look(self, encoder: Embedder, autocast: Callable[[], AbstractContextManager[Any]]) -> dict[str, float]:
        """quality (kNN, or R@1 of two views), rankme, mean_cos, std of the encoder as it stands."""

        def features(views: Tensor) -> Float[np.ndarray, "N D"]:
            with autocast():
                return np.concatenate([vectors_of(encoder, part) for part in torch.split(views, CHUNK)])

        seen = features(self.views)
        if self.labelled:
            found = quality.by_labels(seen, self.labels, self.groups)
        else:
            found = quality.by_views(features(self.pairs[:, 0]), features(self.pairs[:, 1]))
        numbers = geometry.label_free(seen)
        told: dict[str, float] = {} if found is None else {"quality": found}
        return told | {name: float(numbers[name]) for name in ("rankme", "mean_cos", "std") if name in numbers}


def _pairs(pictures: Readable, rows: np.ndarray, views: View, seed: int) -> Tensor:
    drawn = [views(pictures.read(int(row))[0], keyed(seed, int(row), Purpose.MONITOR))["views"] for row in rows]
    return torch.from_numpy(np.stack(drawn))
