"""Batch-norm statistics for a network that nobody trained: with 0 and 1 it would look worse than it is."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from selfsight import distributed
from selfsight.errors import RecipeError
from selfsight.nn.embedder import Embedder

__all__ = ["check_rows", "estimated", "normalising"]


def normalising(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The network's batch norms."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def check_rows(method: str, batch: int, micro: int | None) -> None:
    """RecipeError when a micro-batch is a single picture: a head's batch norm would have one row to average."""
    if (micro or batch // distributed.world()) == 1:
        raise RecipeError(
            f"the batch norm in the head of {method} needs two pictures, and micro-batches of 1 leave it one; use a "
            "larger --micro-batch or --batch"
        )


def estimated(encoder: Embedder, batches: Iterable[Shaped[Tensor, "B ..."]]) -> Embedder:
    """A copy in eval mode whose batch-norm statistics are the plain mean over `batches`; the encoder stays as it is.

    A batch of one picture, such as the last may be, is passed over: where maps are 1 x 1 it has no variance.
    """
    own = copy.deepcopy(encoder)
    norms = normalising(own)
    own.eval()
    for norm in norms:  # only these: dropout would draw random numbers
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for views in (batch for batch in batches if norms and len(batch) > 1):
            own(views.to(own.device))
    return own.eval()
