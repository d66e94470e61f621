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
from selfsight.evaluation import geometry, quality, spectrum
from selfsight.nn.embedder import Embedder
from selfsight.nn.statistics import estimated
from selfsight.training import signs

Autocast = Callable[[], AbstractContextManager[Any]]

CHUNK = 256
PROTOCOL = "crop-flip"  # of the two views
PAIRED, DIRECTIONS = 64, 32  # pictures with labels that two views of are drawn; dimensions that so many tell LiDAR in
GLANCED = 32, 128  # pictures of a glance, at least and at most: as many as a step has
MEASURES = ("rankme", "alpha_req", "participation", "uniformity", "mean_cos", "std")


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
        paired = kept[geometry.subset(len(kept), PAIRED)] if self.labelled else kept
        self.pairs = _pairs(pictures, paired, encoder.pair(PROTOCOL, size), seed)
        self.directions = keyed(seed, 3, Purpose.MONITOR).normal(size=(encoder.width, DIRECTIONS))

    def calibrated(self, encoder: Embedder) -> Embedder:
        """A copy of an untrained encoder with batch statistics of the monitor's pictures, as `evaluate` takes it."""
        return estimated(encoder, torch.split(self.views, CHUNK))

    def look(self, encoder: Embedder, autocast: Autocast) -> dict[str, float]:
        """Quality (kNN, or R@1 of two views) and what needs no labels, of the encoder as it stands.

        `lidar_32` is LiDAR of two views in 32 random directions: so few pictures say nothing of more. Of embeddings
        that are not finite nothing is told: that is for the glance and the next step to say.
        """
        seen = _features(encoder, self.views, autocast)
        first, second = (_features(encoder, self.pairs[:, view], autocast) for view in (0, 1))
        if not all(np.isfinite(rows).all() for rows in (seen, first, second)):
            return {}
        numbers = geometry.label_free(seen)
        told = {name: numbers.get(name) for name in MEASURES}
        sketched = np.stack([first, second], axis=1) @ self.directions
        told |= {"alignment": geometry.alignment(first, second), "lidar_32": spectrum.lidar(sketched)}
        if self.labelled:
            told |= {"quality": quality.by_labels(seen, self.labels, self.groups)}
        else:
            told |= {"quality": quality.by_views(first, second)}
        return {name: float(value) for name, value in told.items() if value is not None}

    def glance(self, encoder: Embedder, autocast: Autocast, batch: int) -> dict[str, float]:
        """Signs of a collapse in the embeddings of a few of the pictures; `alike` where no two pictures differ."""
        views = self.views[geometry.subset(len(self.views), min(max(GLANCED[0], batch), GLANCED[1]))]
        alike = {"alike": 1.0} if bool((views == views[:1]).all()) else {}
        return signs.of_embeddings(_features(encoder, views, autocast)) | alike


def _features(encoder: Embedder, views: Tensor, autocast: Autocast) -> Float[np.ndarray, "N D"]:
    with autocast():
        return np.concatenate([vectors_of(encoder, part) for part in torch.split(views, CHUNK)])


def _pairs(pictures: Readable, rows: np.ndarray, views: View, seed: int) -> Tensor:
    drawn = [views(pictures.read(int(row))[0], keyed(seed, int(row), Purpose.MONITOR))["views"] for row in rows]
    return torch.from_numpy(np.stack(drawn))
