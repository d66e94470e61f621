"""What loop, monitor, embed and evaluate ask of an encoder, whatever kind of sample it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from selfsight.errors import RecipeError
from selfsight.nn.whitening import FILE, Whitening

__all__ = ["Embedder"]

Drawn = Callable[[np.ndarray, np.random.Generator], dict[str, np.ndarray]]


class Embedder(nn.Module, ABC):
    """Samples to embeddings (B, width): called with evaluation views (B, ...), as integers, that are stacked."""

    kind: ClassVar[str]  # of sample, see `data.kinds`
    name: str
    width: int
    channels_last: bool = False  # of memory; means nothing to most
    keeps_statistics: bool = False  # of batch norms, where given weights brought them
    whitens: ClassVar[bool] = True  # whether training ends with a whitening
    whitening: Whitening | None = None  # of the embeddings, before they are compared; no part of the network

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @abstractmethod
    def view(self, sample: np.ndarray, size: int) -> np.ndarray:
        """The evaluation view of a sample: of one shape for all, nothing random."""

    @abstractmethod
    def pair(self, recipe: str, size: int) -> Drawn:
        """What draws `{"views": (2, ...)}`: two views of a sample, to see whether one finds the other."""

    @abstractmethod
    def save(self, folder: Path, facts: Mapping[str, Any] | None = None) -> Path:
        """Write a folder that `families.load` opens again."""

    def extra(self) -> dict[str, bytes]:
        """Files of the folder that are not the network's: its whitening, where it has one."""
        return {FILE: self.whitening.save()} if self.whitening else {}

    def patches(self, views: Tensor) -> Tensor:
        """One vector for each place of a sample (B, L, D), where there are places."""
        raise RecipeError(f"{self.name!r} has no patches; leave --patches out")

    def check(self) -> None:
        """RecipeError when it cannot take views of its own size."""
