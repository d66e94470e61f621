"""Do pictures of one kind lie together? Retrieval and clustering of every row of the table, on the test part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight.data.manifest import Manifest
from selfsight.data.splits import united
from selfsight.evaluation import clustering, intervals, kept, retrieval
from selfsight.evaluation.retrieval import Retrieval


@dataclass(frozen=True)
class Sought:
    """What retrieval looks for: the pictures' own labels, or the values of the column `identity` (-1: takes no part).

    With `across` only pictures of another value of that column are searched.
    """

    values: Int[np.ndarray, "N"]
    identity: str | None = None
    apart: Int[np.ndarray, "N"] | None = None
    across: str | None = None

    @property
    def by(self) -> str:
        """What pictures that are right answers have in common."""
        return self.identity or "label"

    @property
    def asked(self) -> bool:
        """Whether people named a column."""
        return self.identity is not None or self.across is not None

    def taking(self, rows: Int[np.ndarray, "K"] | Bool[np.ndarray, "N"]) -> Sought:
        """The same of these pictures alone."""
        apart = None if self.apart is None else self.apart[rows]
        return Sought(self.values[rows], self.identity, apart, self.across)

    def without(self, copies: Bool[np.ndarray, "N"]) -> Sought:
        """The same, but these take no part."""
        return replace(self, values=np.where(copies, -1, self.values))

    def told(self) -> str:
        """In words, for a sentence."""
        among = "" if self.across is None else f" among pictures of another {self.across!r}"
        return f"finding a picture of the same {self.by!r}{among} (R@1)"


def asked(
    manifest: Manifest, identity: str | None, across: str | None, read: Callable[[str], Mapping[str, str | None]]
) -> Sought | None:
    """What the columns `identity` and `across` ask for (None: label, all pictures); `read` gives a column by name.

    A picture with an empty cell in either takes no part. None when neither was asked for.
    """
    if identity is None and across is None:
        return None
    values = manifest.labels if identity is None else _numbered(read(identity), manifest)
    if across is None:
        return Sought(values, identity)
    apart = _numbered(read(across), manifest)
    return Sought(np.where(apart < 0, -1, values), identity, apart, across)


def _numbered(said: Mapping[str, str | None], manifest: Manifest) -> Int[np.ndarray, "N"]:
    """Equal values as equal numbers, in the manifest's order; -1 where there is none."""
    told = [said.get(name) for name in manifest.names]
    number = {value: place for place, value in enumerate(dict.fromkeys(one for one in told if one is not None))}
    return np.array([-1 if value is None else number[value] for value in told], np.int64)


@dataclass(frozen=True)
class Found:
    """JSON of each row of the table, and which of the same Q queries each answered rightly at once (R@1)."""

    rows: dict[str, dict[str, Any]]
    right: dict[str, Bool[np.ndarray, "Q"]]
    units: Int[np.ndarray, "Q"]


def measure(
    features: Mapping[str, Sequence[Float[np.ndarray, "N _"]]],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    sought: Sought,
    seed: int = 0,
) -> Found:
    """Retrieval of what is sought and clustering by label, among these pictures. What cannot be asked is left out.

    `features` has a row's vectors in each space that they may be compared in; told is the one with the best R@1.
    Intervals resample groups; where a column is sought, whole values of it too, since one pair answers two queries.
    """
    labelled = np.flatnonzero(labels >= 0)
    classes = len(np.unique(labels[labelled]))
    answers, best = {}, {}
    for name, its in features.items():
        found = [kept.answer(retrieval.measure, rows, sought.values, sought.apart, types=(Retrieval,)) for rows in its]
        place = max(range(len(found)), key=lambda number: found[number].hits[1].sum())
        answers[name], best[name] = found[place], its[place]
    queries = next((one.queries for one in answers.values()), np.zeros(0, np.int64))  # the same for all
    units = _units(groups, sought)[queries]
    table: dict[str, dict[str, Any]] = {name: {} for name in features}
    for name, rows in best.items():
        if len(queries):
            table[name]["retrieval"] = _retrieval(answers[name], sought, units, seed)
        if 1 < classes < len(labelled):
            part = (rows[labelled], labels[labelled], groups[labelled], seed)
            alike = kept.answer(clustering.measure, *part, types=(clustering.Clustering,))
            table[name]["clustering"] = _clustering(alike)
    return Found(table, {name: one.hits[1] for name, one in answers.items() if len(queries)}, units)


def _units(groups: Int[np.ndarray, "N"], sought: Sought) -> Int[np.ndarray, "N"]:
    """What intervals resample: groups, and where a column is sought, all that have one value of it as well."""
    if sought.identity is None:
        return groups
    keys = enumerate(zip(groups.tolist(), sought.values.tolist(), strict=True))
    return np.array(
        united([(("group", group), ("value", value if value >= 0 else -1 - row)) for row, (group, value) in keys])
    )


def _retrieval(answers: Retrieval, sought: Sought, units: Int[np.ndarray, "Q"], seed: int) -> dict[str, Any]:
    shares = {f"r_at_{depth}": right for depth, right in answers.hits.items()}
    shares |= {"map_at_r": answers.average, "r_precision": answers.precision}
    told = {"by": sought.by, "across": sought.across, "queries": len(answers.queries), "skipped": answers.skipped}
    return told | {
        name: {"value": float(share.mean()), "interval": list(intervals.of_share(share, units, seed=seed))}
        for name, share in shares.items()
    }


def _clustering(found: clustering.Clustering) -> dict[str, Any]:
    told = {"clusters": found.clusters, "pictures": found.pictures}
    return told | {
        name: {"value": value, "interval": list(found.intervals[name])} for name, value in found.values.items()
    }
