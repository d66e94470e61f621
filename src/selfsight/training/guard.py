"""The guard: reads what a run writes down, and names a collapse in plain words with one remedy.

What it says follows from the lines of metrics.jsonl alone, so it says the same after a restart, and it names no method:
`signs` measures, here it is judged. A cause must be seen at two glances in a row and is told once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from statistics import fmean, stdev
from typing import Any

__all__ = ["CAUSES", "EVERY", "SIGN", "Alarm", "Guard"]

EVERY = 50  # steps from one glance to the next: four within 200
SIGN = "sign."  # before the name of each sign in metrics.jsonl
ROWS = 2  # glances that agree, before it is told
ALIKE = 1e-3  # std x sqrt(d) below which all pictures have the same vector: mean cosine above 0.999999
FALLEN = 0.05  # and the share of the untrained network's, which is itself low: its mean cosine is often 0.99
NOTHING = 1e-4  # root mean square of an embedding of which bfloat16 and weight decay leave nothing
LINE = 3.0  # directions: pictures on a line have 1, in a plane 2, those of an untrained network 20 and more
FEWEST = 0.6  # of the N - 1 directions that N pictures can have, where that is less
LOST = 0.3  # of the most directions seen so far; healthy runs of benchmarks/collapse.py keep 0.59, one on terrain 0.35
STILL = 0.25  # of the dimensions; healthy runs have 0.03 at most
FEW = 0.5  # of the clusters
ONE = 0.9  # of the pictures, in one cluster
STEPS = 100  # that a loss must stay at chance
NEAR = 0.01  # of chance, or of 1 where that is 0: above it by more it learns something, if not what it should
LEARNED = 1e-3  # of the same, and three standard errors: what is below it, or falls, by more comes down

Signs = Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """A cause by name, and what to tell people."""

    cause: str
    sentence: str


@dataclass
class Guard:
    """Takes the lines of metrics.jsonl in their order."""

    lr: float
    chance_of: Callable[[], float | None]  # what it is may follow from what `prepare` found
    untrained: dict[str, float] = field(default_factory=dict)
    directions: float = 0.0  # most so far
    followers: set[str] = field(default_factory=set)  # teachers that have moved: one may come to rest at the end
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS))
    streaks: Counter[str] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)

    def note(self, line: Mapping[str, Any]) -> list[Alarm]:
        """What is to be told now, after one more line."""
        if "loss" in line:
            self.losses.append(float(line["loss"]))
        signs = {key.removeprefix(SIGN): float(value) for key, value in line.items() if key.startswith(SIGN)}
        if not signs:
            return []
        if line["step"] == 0:
            self.untrained = signs
        found = self.found(signs)
        self.directions = max(self.directions, signs.get("directions", 0.0))
        self.followers |= {name for name, value in signs.items() if name.startswith("teacher.") and value > 0}
        self.streaks = Counter({cause: self.streaks[cause] + 1 for cause in found})
        alarms = [
            Alarm(cause, sentence)
            for cause, sentence in found.items()
            if self.streaks[cause] >= ROWS and cause not in self.told
        ]
        self.told |= {alarm.cause for alarm in alarms}
        return alarms

    def found(self, signs: Signs) -> dict[str, str]:
        """Every cause that these signs speak for, with its sentence. Of a graver one the lesser follow."""
        gravest = next(((cause, said) for cause, look in NETWORK.items() if (said := look(self, signs))), None)
        found = dict([gravest]) if gravest else {}
        found |= {cause: said for cause, look in PARTS.items() if (said := look(self, signs))}
        if not found and (said := stuck(self)):
            found["stuck_at_chance"] = said
        return found

    @cached_property
    def chance(self) -> float | None:
        """The loss of a network that looks at no picture."""
        return self.chance_of()

    @property
    def slower(self) -> str:
        """The remedy of most."""
        return f"train anew with another --out and a lower rate, such as --lr {self.lr / 10:.2g}"


def not_finite(guard: Guard, signs: Signs) -> str | None:
    """Weights or running statistics are gone."""
    if signs.get("finite", 1.0):
        return None
    return f"the encoder's output is not finite, though the loss is; {guard.slower}"


def alike_pictures(guard: Guard, signs: Signs) -> str | None:
    """No network could tell them apart."""
    if not signs.get("alike"):
        return None
    return "all pictures that were looked at are the same, pixel by pixel; give others, or look at them with inspect"


def complete_collapse(guard: Guard, signs: Signs) -> str | None:
    """All vectors the same, or near nothing."""
    if "std" not in signs:
        return None
    if signs["size"] < NOTHING:
        return f"complete collapse: the embedding has shrunk to numbers of {signs['size']:.0e}; {guard.slower}"
    usual = guard.untrained.get("std", 0.0)
    if signs["std"] >= max(ALIKE, FALLEN * usual):
        return None
    spread = f"(spread {signs['std']:.1e}, untrained {usual:.1e})"
    return f"complete collapse: all pictures have nearly the same embedding {spread}; {guard.slower}"


def dimensional_collapse(guard: Guard, signs: Signs) -> str | None:
    """The vectors lie in few directions."""
    most = signs.get("pictures", inf) - 1
    if "directions" not in signs or signs["directions"] >= max(min(LINE, FEWEST * most), LOST * guard.directions):
        return None
    return (
        f"dimensional collapse: the embedding uses {signs['directions']:.1f} directions, and at best it was "
        f"{max(guard.directions, signs['directions']):.1f}; train anew with another --out and --keep "
        "best-rankme, to have the encoder from before"
    )


def dead_dimensions(guard: Guard, signs: Signs) -> str | None:
    """Dimensions that say nothing."""
    if signs.get("still", 0.0) < STILL:
        return None
    return f"{signs['still']:.0%} of the embedding's dimensions are the same for all pictures; {guard.slower}"


def constant_head(guard: Guard, signs: Signs) -> str | None:
    """What the loss compares is the same for all pictures."""
    flat = [name.split(".", 1)[1] for name, value in signs.items() if name.startswith("head.") and value < ALIKE]
    if not flat:
        return None
    return f"what the loss compares ({', '.join(flat)}) is the same for all pictures of a batch; {guard.slower}"


def frozen_teacher(guard: Guard, signs: Signs) -> str | None:
    """It should follow, until the end of training at least."""
    still = _still("teacher.", {name: value for name, value in signs.items() if name not in guard.followers})
    if not still:
        return None
    return (
        f"frozen teacher: the weights of {still} do not move, while the network's do; give it a "
        "teacher_momentum below 1 (`selfsight methods NAME` lists the settings)"
    )


def stale_queue(guard: Guard, signs: Signs) -> str | None:
    """It should take what is new."""
    still = _still("queue.", signs)
    if not still:
        return None
    return (
        f"stale queue: the entries of {still} do not change, so that the network is compared with what is long out of "
        "date; the method's `on_step_end` must write each batch into it"
    )


def _still(kind: str, signs: Signs) -> str:
    names = [name.removeprefix(kind) for name, value in signs.items() if name.startswith(kind) and value == 0]
    return ", ".join(names) if signs.get("moved", 0.0) > 0 else ""


def empty_clusters(guard: Guard, signs: Signs) -> str | None:
    """The trivial solution of clustering."""
    if "clusters" not in signs or signs["clusters"] < 2:
        return None
    used, count = signs["clusters_used"], signs["clusters"]
    if used >= FEW * count and signs["largest"] < ONE:
        return None
    fewer = max(2, round(used / 2))
    return (
        f"empty clusters: {used:.0f} of {count:.0f} clusters have pictures, and the largest has {signs['largest']:.0%} "
        f"of them; train anew with another --out and fewer, such as --set clusters={fewer}"
    )


def one_code(guard: Guard, signs: Signs) -> str | None:
    """A dictionary of one word."""
    one = [name.removeprefix("codes.") for name, value in signs.items() if name.startswith("codes.") and value == 1]
    return f"one token only: all of a batch is given the same one of the {one[0]}; {guard.slower}" if one else None


def stuck(guard: Guard) -> str | None:
    """The loss is what a network has that looks at no picture, and does not come down."""
    if guard.chance is None or len(guard.losses) < STEPS:
        return None
    mean, error, scale = fmean(guard.losses), stdev(guard.losses) / STEPS**0.5, abs(guard.chance) or 1.0
    losses, half = list(guard.losses), STEPS // 2
    falls = fmean(losses[:half]) - fmean(losses[half:])  # it may pass chance from above; its error is twice as large
    learned = max(guard.chance - mean, falls / 2) > max(3 * error, LEARNED * scale)
    if learned or abs(mean - guard.chance) > NEAR * scale:
        return None
    return (
        f"nothing is learned: over {STEPS} steps the loss is {mean:.3f}, and {guard.chance:.3f} is chance; try another "
        "--method on these pictures"
    )


Look = Callable[[Guard, Signs], str | None]
NETWORK: dict[str, Look] = {  # gravest first: each implies those below it
    "not_finite": not_finite,
    "alike_pictures": alike_pictures,
    "complete_collapse": complete_collapse,
    "dimensional_collapse": dimensional_collapse,
    "dead_dimensions": dead_dimensions,
    "constant_head": constant_head,
}
PARTS: dict[str, Look] = {
    "frozen_teacher": frozen_teacher,
    "stale_queue": stale_queue,
    "empty_clusters": empty_clusters,
    "one_code": one_code,
}
CAUSES = (*NETWORK, *PARTS, "stuck_at_chance")
