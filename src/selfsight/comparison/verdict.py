"""The verdict in plain words, from simultaneous intervals alone: nothing is said that they do not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selfsight.evaluation.contest import Gap

Gaps = Mapping[tuple[str, str], Gap]

CALLED = {
    "raw_pixels": "raw pixels",
    "simple_statistics": "simple statistics",
    "bag_of_words": "a bag of words",
    "pretrained": "the pretrained weights",
}
UNTRAINED, SUPERVISED = "untrained", "supervised"


def order(gaps: Gaps, ranked: Sequence[str]) -> str:
    """Who is ahead: `ranked` are methods, best first; `gaps` has each pair once."""
    best, top = ranked[0], [ranked[0]]
    for name in ranked[1:]:
        if not any(gap(gaps, one, name).shown for one in top):
            top.append(name)
    rest = [name for name in ranked if name not in top]
    if len(top) == 1:
        return f"{best} is better than {listed(rest)}"
    together: dict[tuple[str, ...], list[str]] = {}
    for name in rest:
        together.setdefault(tuple(one for one in top if gap(gaps, one, name).better), []).append(name)
    beaten = [f"{subject(winners, top)} {listed(others)}" for winners, others in together.items()]
    return "; ".join([f"{listed(top)} are tied", *beaten])


def beside(gaps: Gaps, ranked: Sequence[str], baselines: Iterable[str]) -> list[str]:
    """What the methods beat, and what beats them: baselines of which the same is true are told together."""
    together: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for other in baselines:
        winners = tuple(name for name in ranked if gap(gaps, name, other).better)
        losers = tuple(name for name in ranked if gap(gaps, name, other).worse)
        together.setdefault((winners, losers), []).append(CALLED[other])
    told = []
    for (winners, losers), others in together.items():
        if winners:
            told.append(f"{subject(winners, ranked)} {listed(others)}")
        elif len(losers) < len(ranked):
            told.append(f"none is shown to beat {listed(others, 'or')}")
        if losers:
            told.append(f"{subject(losers, ranked, ('is', 'are'))} worse than {listed(others)}")
    return told


def no_gain(gaps: Gaps, ranked: Sequence[str], finder: str) -> str | None:
    """Methods that are not shown to be above their own untrained network; `finder` is what they were asked by."""
    idle = [name for name in ranked if not gap(gaps, name, UNTRAINED).better]
    if not idle:
        return None
    are, its = ("is", "its own untrained network") if len(idle) == 1 else ("are", "their own untrained networks")
    return f"{listed(idle)} {are} not shown to have learned anything that {finder} (beside {its})"


def against_labels(gaps: Gaps, ranked: Sequence[str]) -> str:
    """The linear probes of the methods beside the same network trained from scratch with all labels."""
    groups = {
        "better than": [name for name in ranked if gap(gaps, SUPERVISED, name).better],
        "tied with": [name for name in ranked if not gap(gaps, SUPERVISED, name).shown],
        "worse than": [name for name in ranked if gap(gaps, SUPERVISED, name).worse],
    }
    told = " and ".join(f"{words} {listed(names)}" for words, names in groups.items() if names)
    return f"Trained from scratch with all the labels, a network is {told} (with a linear probe on all the labels)"


def without_labels(leads: Mapping[str, float], orders: Mapping[str, Sequence[str]]) -> str:
    """How sure the order is where nothing but another view could be asked for."""
    first = max(leads, key=lambda name: leads[name])
    told = (
        "There are no labels, so this is how often a picture is found by another view of it, which says little of what "
        f"else an encoder knows: {first} is first in {leads[first]:.0%} of the draws of other pictures like these"
    )
    if "rankme" not in orders:  # a collapsed encoder has none
        return f"{told}."
    by_rank = orders["rankme"][0]
    return f"{told}; by effective rank it is {'also ' if by_rank == first else ''}{by_rank}, a hint and no more."


def pretrain(gaps: Gaps, counts: Mapping[str, int], method: str, *, idle: bool = False) -> str:
    """Should one pre-train at all? By number of labels: `gaps` are named `method@budget`, `supervised@budget`, ...

    An `idle` method is not above its own untrained network: then its features may be good, but were not learned.
    """
    found = {name: gap(gaps, f"{method}@{name}", f"{SUPERVISED}@{name}") for name in counts}
    wins = [counts[name] for name, one in found.items() if one.better]
    losses = [counts[name] for name, one in found.items() if one.worse]
    open_ = [counts[name] for name, one in found.items() if not one.shown]
    what = f"frozen features of {method}"
    few = wins and losses and max(wins) < min(losses)
    lead = "Yes, with few labels:" if few else "Yes:"
    if idle:
        lead = f"{method} is not shown to have learned anything, so nothing speaks for training it; yet"
    if len(wins) == len(counts):
        said = f"{lead} at every number of labels tried {what} beat training from scratch"
    elif wins:
        said = f"{lead} with {numbers(wins)} labels {what} beat training from scratch"
    else:
        said = f"It is not shown to pay here: at no number of labels do {what} beat training from scratch"
    if losses:
        said += f"; with {numbers(losses)} training from scratch is better"
    if open_ and wins:
        said += f"; with {numbers(open_)} no difference is shown"
    return f"{said}. {_cheaper(gaps, counts, method)}".strip()


def _cheaper(gaps: Gaps, counts: Mapping[str, int], method: str) -> str:
    """What would do as well without any training here."""
    told = []
    for other in ("simple_statistics", "pretrained"):
        pairs = {name: gaps.get((f"{method}@{name}", f"{other}@{name}")) for name in counts}
        wins = [counts[name] for name, one in pairs.items() if one is not None and one.better]
        losses = [counts[name] for name, one in pairs.items() if one is not None and one.worse]
        if all(one is None for one in pairs.values()):
            continue
        if losses:
            told.append(f"{CALLED[other]} are better with {numbers(losses)} labels")
        if wins:
            told.append(f"{method} beats {CALLED[other]} with {numbers(wins)} labels")
        if not wins and not losses:
            told.append(f"{CALLED[other]}, which need no training here, are not shown to be worse")
    return f"Beside it: {'; '.join(told)}." if told else ""


def gap(gaps: Gaps, first: str, second: str) -> Gap:
    """The comparison of two rows, whichever way round it was made."""
    if (first, second) in gaps:
        return gaps[first, second]
    other = gaps[second, first]
    low, high = other.interval
    return Gap(first, second, -other.difference, (-high, -low), other.shown)


def listed(names: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def subject(those: Sequence[str], named: Sequence[str], verbs: tuple[str, str] = ("beats", "beat")) -> str:
    """Who does something: "both beat" where these are all that were named before."""
    if len(those) == 1:
        return f"{those[0]} {verbs[0]}"
    everyone = len(those) == len(named)
    return f"{('both' if len(named) == 2 else 'all') if everyone else listed(those)} {verbs[1]}"


def numbers(counts: Sequence[int]) -> str:
    """9, 45 and 90; thousands with a comma."""
    return listed([f"{count:,}" for count in counts])
