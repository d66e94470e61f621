"""NT-Xent: each view finds its partner among all other views of the batch (Chen et al. 2020, eq. 1).

The mean over the 2B anchors, as in the paper. The released TensorFlow code adds the two per-view means instead, which
is twice this value.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from selfsight.losses.precision import full, no_autocast

__all__ = ["compared", "nt_xent"]


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
        logits, itself, partner = compared(first, second, temperature, candidates, offset)
        logits = logits.scatter(1, itself[:, None], float("-inf"))  # nobody is its own negative
        return cross_entropy(logits, partner)


def compared(
    first: Tensor, second: Tensor, temperature: float, candidates: tuple[Tensor, Tensor] | None, offset: int
) -> tuple[Float[Tensor, "A C"], Int[Tensor, "A"], Int[Tensor, "A"]]:
    """Cosines of the 2B anchors with all 2N candidates over the temperature; which column is an anchor itself, and
    which its partner. Arguments as in `nt_xent`."""
    anchors = full(torch.cat([first, second]))  # (2B, P)
    pool = anchors if candidates is None else full(torch.cat(candidates))  # (2N, P)
    images = len(pool) // 2
    row = offset + torch.arange(len(first), device=first.device)  # (B,) of each anchor in its view's half
    itself, partner = torch.cat([row, images + row]), torch.cat([images + row, row])  # (2B,)
    return anchors @ pool.T / temperature, itself, partner
