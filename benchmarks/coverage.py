"""How often do the 95 % intervals of `evaluate` hold the truth?

    python benchmarks/coverage.py [--trials 2000] [--json FILE]

Test pictures come in groups (photographs of one tree, crops of one scan) that share their luck: for each group a share
is drawn, and of its pictures so many are named rightly. Groups are alike or unequal in size, few or many, shares near
one half or near the ends. Of each set that is drawn so, the interval of the share (`of_share`) and that of the paired
difference of two encoders (`of_difference`) either hold the truth, which is known here, or do not. Some minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsight.evaluation import intervals

LEAST, MOST = 0.93, 0.97


@dataclass(frozen=True)
class World:
    """Where test sets are drawn from."""

    groups: int
    sizes: str  # "one", "five" or "unequal": one picture a group, five, or 1 to 40 with most groups small
    share: float  # that is named rightly, the truth
    gap: float  # by which the second encoder is worse
    alike: float = 0.2  # correlation of two pictures of a group

    def drawn(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each encoder names rightly, and the groups. Luck does not depend on the size of a group."""
        sizes = {
            "one": lambda: np.ones(self.groups, np.int64),
            "five": lambda: np.full(self.groups, 5),
            "unequal": lambda: np.minimum(40, np.ceil(1 / generator.random(self.groups)).astype(np.int64)),
        }[self.sizes]()
        groups = np.repeat(np.arange(self.groups), sizes)
        concentration = 1 / self.alike - 1  # of a beta distribution: correlation 1 / (1 + concentration)
        luck = generator.beta(self.share * concentration, (1 - self.share) * concentration, self.groups)
        first = generator.random(len(groups)) < luck[groups]
        worse = self.gap / self.share  # of what the first names rightly; what is lost is regained nowhere
        regained = 0.3 * min(self.gap + 0.02, 1 - self.share)  # of what it does not name rightly
        lost = worse + regained / self.share
        second = np.where(
            first, generator.random(len(groups)) >= lost, generator.random(len(groups)) < regained / (1 - self.share)
        )
        return first, second, groups


def worlds() -> Iterator[World]:
    """Small and large, even and uneven, in the middle and at the ends."""
    for groups in (6, 10, 20, 50, 200):
        for sizes in ("one", "five", "unequal"):
            for share in (0.05, 0.5, 0.8, 0.95, 0.99):
                yield World(groups, sizes, share, gap=0.3 * min(share, 0.2))


def covered(world: World, trials: int) -> dict[str, float]:
    """Share of the intervals that hold the truth, and their mean width."""
    held = np.zeros((trials, 2))
    wide = np.zeros((trials, 2))
    for trial in range(trials):
        first, second, groups = world.drawn(np.random.default_rng((11, trial)))
        for place, (low, high, truth) in enumerate(
            (
                (*intervals.of_share(first, groups, seed=trial), world.share),
                (*intervals.of_difference(first, second, groups, seed=trial), world.gap),
            )
        ):
            held[trial, place] = low <= truth <= high
            wide[trial, place] = high - low
    names = ("share", "difference")
    return {name: round(float(held[:, place].mean()), 4) for place, name in enumerate(names)} | {
        f"{name}_width": round(float(wide[:, place].mean()), 4) for place, name in enumerate(names)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    rows = []
    for w in worlds():
        row = {"groups": w.groups, "sizes": w.sizes, "share": w.share, "gap": w.gap, **covered(w, asked.trials)}
        rows.append(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
