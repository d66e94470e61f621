"""Codebooks: V vectors, by the nearest of which a patch is named. They follow what was assigned to them.

No gradient reaches a codebook; an encoder learns through `passed_through`.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.functional import normalize

from selfsight import distributed

__all__ = ["Codebook", "UnitCodebook", "centres", "nearest", "passed_through"]

ROWS = 16384  # that are compared with the codes at once: 64 MB for 1,024 codes
DEAD = 0.01  # a code whose count falls below this share of the mean is begun anew


class Codebook(nn.Module):
    """`vectors` (V, P) are running means of what they stand for; `counts` (V,) say how much that was lately.

    van den Oord, Vinyals & Kavukcuoglu 2017, appendix A.1. A code that is hardly used any more takes the place of a
    row drawn by lot.
    """

    vectors: Float[Tensor, "V P"]
    counts: Float[Tensor, "V"]

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(count, width))
        self.register_buffer("counts", torch.ones(count))

    def begin(self, rows: Float[Tensor, "N P"], seed: int) -> None:
        """Start at the k-means centres of rows."""
        _start(self.vectors, centres(rows, len(self.vectors), seed))

    @torch.no_grad()
    def follow(self, rows: Float[Tensor, "N P"], codes: Int[Tensor, "N"], decay: float, key: int) -> None:
        """Move by one batch of assigned rows, the same on every rank; `key` seeds the lot."""
        everyone, sums, counts = _assigned(rows, codes, len(self.vectors))
        before = decay * self.counts[:, None] * self.vectors
        self.counts.mul_(decay).add_((1 - decay) * counts)
        # the paper's code adds 1e-5 to all counts; here none comes near 0, since dead codes are begun anew before
        self.vectors.copy_((before + (1 - decay) * sums) / self.counts[:, None])
        dead = (self.counts < DEAD * self.counts.mean()).nonzero().flatten()[: len(everyone)]
        chosen = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(key))[: len(dead)]
        self.vectors[dead] = everyone[chosen.to(everyone.device)].to(self.vectors.dtype)
        self.counts[dead] = self.counts.mean()


class UnitCodebook(nn.Module):
    """`vectors` (V, P) of length 1 turn towards the mean direction of what they stand for (Peng et al. 2022, BEiT v2).

    A code that nothing was assigned to stays where it is.
    """

    vectors: Float[Tensor, "V P"]

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", normalize(torch.randn(count, width), dim=1))

    def begin(self, rows: Float[Tensor, "N P"], seed: int) -> None:
        """Start at the directions of the k-means centres of the rows' directions."""
        found = centres(normalize(rows, dim=1), len(self.vectors), seed)
        _start(self.vectors, normalize(found, dim=1))

    @torch.no_grad()
    def follow(self, rows: Float[Tensor, "N P"], codes: Int[Tensor, "N"], decay: float) -> None:
        """Turn by one batch of assigned rows, the same on every rank: decay * code + (1 - decay) * mean direction."""
        _, sums, counts = _assigned(rows, codes, len(self.vectors))
        turned = normalize(decay * self.vectors + (1 - decay) * normalize(sums, dim=1), dim=1)
        self.vectors.copy_(torch.where(counts[:, None] > 0, turned, self.vectors))


def nearest(rows: Float[Tensor, "*B P"], vectors: Float[Tensor, "V P"]) -> Int[Tensor, "*B"]:
    """The index of the nearest vector by Euclidean distance, in full precision; equal ones go to the lower index.

    Among vectors of one length it has the largest cosine, whatever the length of the row.
    """
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        lengths = vectors.square().sum(dim=1) / 2
        parts = torch.split(rows.float().flatten(0, -2), ROWS)
        return torch.cat([(part @ vectors.T - lengths).argmax(dim=1) for part in parts]).view(rows.shape[:-1])


def passed_through(rows: Float[Tensor, "*B P"], vectors: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
    """The vectors, with the gradient of the rows (straight through: Bengio, Leonard & Courville 2013)."""
    return rows + (vectors - rows).detach()


def centres(rows: Float[Tensor, "N P"], count: int, seed: int) -> Float[Tensor, "V P"]:
    """The k-means centres of rows, the same for the same rows and seed; of fewer than `count` rows some stand twice."""
    given = rows.cpu().numpy().astype(np.float32)
    if len(given) < count:
        given = np.resize(given, (count, given.shape[1]))
    model = MiniBatchKMeans(count, random_state=seed % 2**32, n_init=1, batch_size=4096, max_iter=20)
    with threadpool_limits(1), warnings.catch_warnings():  # several threads would add up in any order
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal patches: some codes are never the nearest
        return torch.from_numpy(model.fit(given).cluster_centers_)


def _start(vectors: Tensor, found: Tensor) -> None:
    vectors.copy_(found)
    distributed.copy_first(vectors)


def _assigned(
    rows: Float[Tensor, "N P"], codes: Int[Tensor, "N"], count: int
) -> tuple[Float[Tensor, "M P"], Float[Tensor, "V P"], Float[Tensor, "V"]]:
    """All ranks' rows, their sum for each code and how many they are."""
    everyone, named = distributed.gather(rows.float()), distributed.gather(codes)
    sums = torch.zeros(count, rows.shape[1], dtype=everyone.dtype, device=rows.device).index_add(0, named, everyone)
    return everyone, sums, torch.bincount(named, minlength=count).to(everyone.dtype)
