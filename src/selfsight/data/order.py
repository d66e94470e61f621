"""Which sample stands at which position, and every generator's key: pure functions of (seed, number).

Position p = epoch * length + i counts the samples that a run has consumed; nothing here depends on workers, ranks or
time, so a checkpoint needs the step and nothing else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor

from selfsight.errors import RecipeError


class Purpose(IntEnum):
    """What random numbers are for; two purposes never share a stream."""

    VIEWS = 0
    ORDER = 1
    REPLACEMENT = 2
    MONITOR = 3
    WHITENING = 4
    CLUSTERS = 5


class _Key(ISeedSequence):
    """A Philox key as it is; given as `key=`, numpy would also ask the system for entropy: 7.5 us instead of 2.8."""

    def __init__(self, number: int, seed: int) -> None:
        self.words = np.array([number, seed], np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return self.words


def keyed(seed: int, number: int, purpose: Purpose) -> np.random.Generator:
    """The generator of (seed, number), both below 2**64: a counter-based Philox stream, cheap for each sample."""
    key: Any = _Key(number, seed)  # numpy's stubs know SeedSequence only
    return np.random.Generator(np.random.Philox(key, counter=int(purpose) << 192))


def permuted(count: int, seed: int, epoch: int) -> Int[Tensor, "N"]:
    """Every sample once, in an order keyed by (seed, epoch)."""
    return torch.from_numpy(keyed(seed, epoch, Purpose.ORDER).permutation(count))


def balanced(assignments: Int[Tensor, "N"], length: int, seed: int, epoch: int) -> Int[Tensor, "length"]:
    """Every cluster equally often: floor(N / clusters) + 1 members each, with replacement where a cluster is smaller.

    Caron et al. 2018 (DeepCluster), released sampler; shuffled, then cut or padded from its start to `length`.
    """
    generator = keyed(seed, epoch, Purpose.ORDER)
    members = assignments.cpu().numpy()
    sorted_rows = np.argsort(members, kind="stable")
    first = np.unique(members[sorted_rows], return_index=True)[1]
    each = len(members) // len(first) + 1
    clusters = np.split(sorted_rows, first[1:])
    parts = [generator.choice(rows, each, replace=len(rows) <= each) for rows in clusters]
    shuffled = generator.permutation(np.concatenate(parts))
    return torch.from_numpy(np.resize(shuffled, length))


def grouped(
    labels: Int[Tensor, "N"], identities: int, samples: int, length: int, seed: int, epoch: int
) -> Int[Tensor, "length"]:
    """Batches of `identities` classes times `samples` pictures, class by class, cut at `length`.

    In a batch no class comes twice, and no picture unless its class has fewer than `samples`. Pictures without a label
    (-1) are never drawn. There must be at least `identities` classes.
    """
    generator = keyed(seed, epoch, Purpose.ORDER)
    known = labels.numpy()
    rows = np.argsort(known, kind="stable")[np.count_nonzero(known < 0) :]
    members = np.split(rows, np.flatnonzero(np.diff(known[rows])) + 1)
    drawn = [
        generator.choice(members[number], samples, replace=len(members[number]) < samples)
        for _ in range(-(-length // (identities * samples)))
        for number in generator.choice(len(members), identities, replace=False)
    ]
    return torch.from_numpy(np.concatenate(drawn)[:length])


def samples_for(batch: int, classes: int, wanted: int | None = None) -> tuple[int, str]:
    """K, with the reason, so that a batch is P x K: two of the `classes` or more, K pictures of each.

    Of what divides the batch the number nearest to 4. RecipeError when there is none, or `wanted` is not one.
    """
    if classes < 2:
        raise RecipeError(f"batches of P classes need labels of two classes or more, and there are {classes}")
    able = [k for k in range(2, batch // 2 + 1) if batch % k == 0 and batch // k <= classes]
    if (wanted or next(iter(able), None)) not in able:
        each = wanted or (4 if batch >= 8 else 2)
        remedy = f"--batch {each * max(2, min(classes, batch // each))}"
        remedy += f" or --set samples={able[0]}" if able else ""
        raise RecipeError(
            f"a batch of {batch} is not P x K: {each} pictures of each of 2 to {classes} classes; use {remedy}"
        )
    samples = wanted or min(able, key=lambda k: abs(k - 4))
    return samples, f"a batch is {batch // samples} of {classes} classes x {samples} pictures"
