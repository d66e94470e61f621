"""NT-Xent: each view finds its partner among all other views of the batch (Chen et al. 2020, eq. 1).

The mean over the 2B anchors, as in the paper. The released TensorFlow code adds the two per-view means instead, which
is twice this value.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsight.losses import tiles
from selfsight.losses.precision import full, no_autocast

__all__ = ["arranged", "nt_xent"]


def nt_xent(
    first: Float[Tensor, "B P"],
    second: Float[Tensor, "B P"],
    *,
    temperature: float,
    candidates: tuple[Float[Tensor, "N P"], Float[Tensor, "N P"]] | None = None,
    offset: int = 0,
) -> Float[Tensor, ""]:
    """Cross-entropy of picking each row's partner among 2N - 1 rows, mean over the 2B anchors. Rows are unit vectors.

    `candidates` are both views of all ranks' images when the anchors are one rank's; its rows `offset ... offset + B`
    are the anchors themselves. Then the mean of the ranks' losses is the loss of the whole batch on one rank.
    """
    with no_autocast(first):
        anchors, pool, itself, partner = arranged(first, second, candidates, offset)

        def cost(logits: Tensor, strip: slice) -> tuple[Tensor, Tensor]:
            at = torch.arange(len(logits), device=logits.device)
            logits[at, itself[strip]] = float("-inf")  # nobody is its own negative
            logs = logits.log_softmax(dim=1)  # (R, 2N)
            loss = -logs[at, partner[strip]].sum()
            slope = logs.exp_()
            slope[at, partner[strip]] -= 1
            return loss, slope

        return tiles.total(cost, anchors / temperature, pool) / len(anchors)


def arranged(
    first: Tensor, second: Tensor, candidates: tuple[Tensor, Tensor] | None, offset: int
) -> tuple[Float[Tensor, "A P"], Float[Tensor, "C P"], Int[Tensor, "A"], Int[Tensor, "A"]]:
    """The 2B anchors and all 2N candidates; which of these is an anchor itself, and which its partner. Arguments as in
    `nt_xent`."""
    anchors = full(torch.cat([first, second]))  # (2B, P)
    pool = anchors if candidates is None else full(torch.cat(candidates))  # (2N, P)
    images = len(pool) // 2
    row = offset + torch.arange(len(first), device=first.device)  # (B,) of each anchor in its view's half
    return anchors, pool, torch.cat([row, images + row]), torch.cat([images + row, row])
