"""Successive halving (Jamieson & Talwalkar 2016, 1502.07943), and who wins in the end.

All candidates train for a while, the better half goes on for as long again. The first stays to the end, and another
takes its place only beyond the interval, by pictures by which nothing was chosen before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from selfsight.evaluation import holdout, intervals

__all__ = ["Found", "aside", "decided", "halved", "rounds", "work"]


@dataclass(frozen=True)
class Found:
    """What a candidate's encoder said of the pictures that all are judged by."""

    right: Bool[np.ndarray, "N"]
    groups: Int[np.ndarray, "N"]
    finite: bool = True  # otherwise it could not be trained, and named nothing rightly

    @property
    def accuracy(self) -> float:
        """Share of the pictures named rightly by others, of the half that candidates are ranked by."""
        return float(self.right[~self.aside].mean())

    @property
    def aside(self) -> Bool[np.ndarray, "N"]:
        """The other half."""
        return aside(self.groups)


def aside(groups: Int[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    """The half, whole groups, by which it is decided in the end."""
    return holdout.by_group(groups, 0.5)


def rounds(count: int) -> list[int]:
    """How many of so many candidates each round trains."""
    found = []
    for _ in range(count.bit_length() - 1):
        found.append(count)
        count = kept(count)
    return found


def kept(count: int) -> int:
    """How many of so many go on."""
    return max(2, (count + 1) // 2)


def work(count: int) -> int:
    """How many times the first round's steps of one of so many candidates all rounds have."""
    return sum(left * 2 ** max(0, number - 1) for number, left in enumerate(rounds(count)))


def halved(
    names: list[str], budget: int, tried: Callable[[str, int], Found]
) -> tuple[dict[str, float], dict[str, Found]]:
    """The last score of every candidate, and what the last of them found. The first stays to the end.

    Each round trains those that are left to twice the steps, and half of them go on; all rounds have `budget` steps.
    """
    own, unit = names[0], max(1, budget // work(len(names)))
    left, scores, found = names, dict[str, float](), dict[str, Found]()
    for number, count in enumerate(rounds(len(names))):
        found = {name: tried(name, unit * 2**number) for name in left}
        scores |= {name: one.accuracy for name, one in found.items()}
        ranked = sorted((name for name in left if name != own), key=lambda name: -scores[name])
        left = [own, *ranked[: kept(count) - 1]]
    return scores, found


def decided(own: str, found: Mapping[str, Found]) -> tuple[str, str]:
    """The views to train with, and one sentence why."""
    name = max((one for one in found if one != own), key=lambda one: found[one].accuracy)
    last = found[own].aside
    if not last.any():  # those that were drawn are of one group
        return own, f"tried, and no group is left that could show {name} to be better"
    other, usual = found[name].right[last], found[own].right[last]
    low, high = intervals.of_difference(other, usual, found[own].groups[last])
    told = f"kNN {other.mean():.3f} against {usual.mean():.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    if low > 0:
        return name, f"tried, and better than {own}: {told}"
    return own, f"tried, and none is shown to be better; {name}: {told}"
