"""Batch-norm statistics for a network that nobody trained: with 0 and 1 it would look worse than it is."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from selfsight.nn.embedder import Embedder

__all__ = ["estimated", "normalising"]


def normalising(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The network's batch norms."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def estimated(encoder: Embedder, batches: Iterable[Shaped[Tensor, "B ..."]]) -> Embedder:
    """A copy in eval mode whose batch-norm statistics are the plain mean over `batches`; the encoder stays as it is."""
    own = copy.deepcopy(encoder)
    norms = normalising(own)
    own.eval()
    for norm in norms:  # only these: dropout would draw random numbers
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for views in batches if norms else ():
            own(views.to(own.device))
    return own.eval()
