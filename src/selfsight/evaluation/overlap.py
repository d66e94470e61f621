"""Intersection over union of named pixels and masks, summed over pictures (PASCAL VOC), with intervals by picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from selfsight.evaluation import intervals

Counts = Int[np.ndarray, "M 3 C"]  # of each picture and class: pixels named so and so in truth, named so, so in truth


def counted(named: Int[np.ndarray, "S S"], mask: Int[np.ndarray, "S S"], classes: int) -> Int[np.ndarray, "3 C"]:
    """One picture's counts; pixels whose mask is -1 are not asked for."""
    asked = mask >= 0
    guess, truth = named[asked], mask[asked]
    return np.stack([np.bincount(one, minlength=classes) for one in (truth[guess == truth], guess, truth)])


def ratios(sums: Float[np.ndarray, "3 C *R"]) -> Float[np.ndarray, "C *R"]:
    """Intersection over union of each class; NaN where neither names nor truth show it."""
    both, guessed, true = sums
    union = guessed + true - both
    return np.asarray(np.divide(both, union, out=np.full(union.shape, np.nan), where=union > 0))


def mean(counts: Counts) -> float:
    """Mean IoU over the classes that the masks of these pictures show, [0, 1]."""
    return float(np.nanmean(ratios(counts.sum(axis=0).astype(float))[shown(counts)]))


def shown(counts: Counts) -> Int[np.ndarray, "K"]:
    """Classes that the masks show."""
    return np.flatnonzero(counts[:, 2].sum(axis=0))


def resampled(counts: Counts, groups: Int[np.ndarray, "M"], seed: int = 0) -> Float[np.ndarray, "R"]:
    """The mean IoU in every resample of whole groups, over the classes that its masks show; the same resamples for all
    counts of the same pictures."""
    sums = intervals.resampled_sums(counts.reshape(len(counts), -1).T, groups, seed=seed)
    sums = sums.reshape(3, counts.shape[2], -1)[:, shown(counts)]
    there = sums[2] > 0
    return np.asarray(np.where(there, ratios(sums), 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1))


def scored(counts: Counts, own: Counts, groups: Int[np.ndarray, "M"]) -> dict[str, Any]:
    """Mean IoU with its interval; where `own` are another row's counts, that row's paired lead as well."""
    number = len(np.unique(groups))
    means = resampled(counts, groups)
    found: dict[str, Any] = {"miou": mean(counts), "interval": list(intervals.of_resampled(means, number, (0.0, 1.0)))}
    if own is not counts:
        leads = resampled(own, groups) - means
        found["difference"] = mean(own) - found["miou"]
        found["difference_interval"] = list(intervals.of_resampled(leads, number, (-1.0, 1.0)))
    return found
