"""Schedules are pure functions of progress, the share of training done in [0, 1]."""

from __future__ import annotations

from math import cos, pi

__all__ = ["cosine", "rate"]


def cosine(progress: float, start: float, end: float) -> float:
    """Half a cosine from `start` at 0 to `end` at 1 (Loshchilov & Hutter 2017, without restarts)."""
    return end + (start - end) * (1 + cos(pi * progress)) / 2


def rate(progress: float, warmup_share: float, *, floor: float = 0.0) -> float:
    """The factor on the learning rate: linear from 0 to 1 over `warmup_share` of training, then a cosine to `floor`."""
    if progress < warmup_share:
        return progress / warmup_share
    if warmup_share >= 1:
        return 1.0
    return cosine((progress - warmup_share) / (1 - warmup_share), 1.0, floor)
