"""How often do the 95 % intervals of `evaluate` hold the truth?

    python benchmarks/interval_coverage.py [--trials 1000] [--json FILE]

Test pictures come in groups (photographs of one tree, crops of one scan) that share their luck: for each group a share
is drawn, and of its pictures so many are named rightly. Groups are alike or unequal in size, few or many, shares near
one half or near the ends. Of each set that is drawn so, the interval of the share (`of_share`) and that of the paired
difference of two encoders (`of_difference`) either hold the truth, which is known here, or do not. Some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np

from selfsight.evaluation import intervals

LEAST, MOST = 0.93, 0.97
SIZES = {"one": "1", "five": "5", "unequal": "1 to 40, most few"}


@dataclass(frozen=True)
class World:
    """Where test sets are drawn from."""

    groups: int
    sizes: str  # of `SIZES`
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
        gained = 0.3 * min(self.gap + 0.02, 1 - self.share)  # that the second alone names rightly
        lost = self.gap + gained  # that the first alone does
        numbers = generator.random(len(groups))
        second = np.where(first, numbers >= lost / self.share, numbers < gained / (1 - self.share))
        return first, second, groups


def worlds() -> Iterator[World]:
    """Few and many, even and uneven, in the middle and at the ends."""
    for groups in (6, 20, 50, 200):
        for sizes in ("one", "five", "unequal"):
            for share in (0.05, 0.5, 0.8, 0.98):
                yield World(groups, sizes, share, gap=0.3 * min(share, 0.2))


def covered(world: World, trials: int) -> dict[str, dict[str, float]]:
    """For `share` and `difference`: in how many of the trials the interval held the truth, and how wide it was."""
    truths = {"share": world.share, "difference": world.gap}
    held, wide = ({name: np.zeros(trials) for name in truths} for _ in range(2))
    for trial in range(trials):
        first, second, groups = world.drawn(np.random.default_rng((11, trial)))
        found = {
            "share": intervals.of_share(first, groups, seed=trial),
            "difference": intervals.of_difference(first, second, groups, seed=trial),
        }
        for name, (low, high) in found.items():
            held[name][trial] = low <= truths[name] <= high
            wide[name][trial] = high - low
    return {
        name: {"held": round(float(held[name].mean()), 4), "width": round(float(wide[name].mean()), 4)}
        for name in truths
    }


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown, one line for each kind of group, one column for each share."""
    rows = [(World(**row["world"]), row) for row in results["worlds"]]
    shares = dict.fromkeys(world.share for world, _ in rows)
    head = ["groups", "pictures a group", "interval", *(f"share {share:g}" for share in shares)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for groups, sizes in dict.fromkeys((world.groups, world.sizes) for world, _ in rows):
        for name in ("share", "difference"):
            of_kind = [row[name] for world, row in rows if (world.groups, world.sizes) == (groups, sizes)]
            cells = [f"{100 * one['held']:.1f} % ({one['width']:.3f})" for one in of_kind]
            lines.append(f"| {groups} | {SIZES[sizes]} | {name} | {' | '.join(cells)} |")
    everything = [row[name]["held"] for _, row in rows for name in ("share", "difference")]
    inside = sum(LEAST <= held <= MOST for held in everything)
    below, above = sum(held < LEAST for held in everything), sum(held > MOST for held in everything)
    counts = f"Between {100 * LEAST:g} and {100 * MOST:g} %: {inside} of {len(everything)}"
    rest = f"above, that is wider than need be: {above}; below: {below}, the least {100 * min(everything):.1f} %"
    what = f"How often intervals of 95 % hold the truth, and their mean width; {results['trials']} trials each."
    return "\n".join([*lines, "", f"{what} {counts}; {rest}."])


def main() -> None:
    """Simulate, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    found = []
    for world in worlds():
        found.append({"world": asdict(world), **covered(world, asked.trials)})
        print(found[-1], file=sys.stderr, flush=True)
    results = {"trials": asked.trials, "worlds": found}
    machine.keep(asked.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
