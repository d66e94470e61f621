"""Views with a key: a number of its own for each sample, from which a network draws the same noise whenever it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsight.views.draw import Views

__all__ = ["Keyed"]


@dataclass(frozen=True)
class Keyed:
    """Views, and with each picture the fact `key`, an int64 that follows from the run's seed and the position."""

    views: Views

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of `views` from a picture (H, W, C), and `key`."""
        return {**self.views(image, generator), "key": np.asarray(generator.integers(2**63))}
