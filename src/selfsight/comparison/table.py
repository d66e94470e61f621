"""From what was measured to `compare.json`: rows, comparisons, verdict, label efficiency, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfsight.comparison import verdict
from selfsight.comparison.scene import Outcome, Scene, read
from selfsight.data.kinds import KINDS
from selfsight.evaluation import contest, measure
from selfsight.evaluation.contest import Gap, Right
from selfsight.evaluation.intervals import FEWEST
from selfsight.evaluation.portion import described
from selfsight.evaluation.task import Task
from selfsight.evaluation.trust import BETTER, rank_agreement

SHAPE = ("rows", "width")  # no scores
TOGETHER = (
    "All {} differences were looked at together, with intervals that are wider for it: the chance that any of these "
    "claims is only luck is 5 %. Those by number of labels are a family of their own."
)
ONCE = (
    "Each method was trained once: the intervals know the luck of the test pictures, not that of the start. --seeds 3 "
    "trains each three times, and goes on from what is here."
)
KNN, LINEAR, VIEWS = "knn", "linear", "two_views"
FINDERS = {KNN: "nearest neighbours find", VIEWS: "helps to find a picture by another view"}


@dataclass(frozen=True)
class Row:
    """A line of the table: one outcome for each seed, and what is known of its training."""

    name: str
    role: str  # method, supervised or baseline
    outcomes: list[Outcome]
    facts: dict[str, Any] = field(default_factory=dict)

    def right(self, question: str) -> Right | None:
        """(seeds, questions), or None where it was not asked."""
        asked = [one["right"][question] for one in self.outcomes if question in one["right"]]
        return read(asked) if asked else None


@dataclass(frozen=True)
class Table:
    """All rows. `untrained` has, for each method, the outcomes of its own networks before training, by seed."""

    scene: Scene
    rows: list[Row]
    untrained: Mapping[str, list[Outcome]]
    drawn: Mapping[str, list[Outcome]]  # budget of labels: supervised training from scratch, by draw

    @property
    def methods(self) -> list[Row]:
        """Rows of methods."""
        return [row for row in self.rows if row.role == "method"]

    @property
    def task(self) -> Task | None:
        """Of naming classes, where there is one."""
        return self.scene.task if isinstance(self.scene.task, Task) else None

    def groups(self, question: str) -> Any:
        """Of the questions."""
        return self.task.test_groups if self.task and question != VIEWS else self.scene.view_groups

    def to_json(self) -> dict[str, Any]:
        """Everything but what was asked and the curves."""
        question = KNN if self.task else VIEWS
        gaps = self.gaps(question)
        return {
            "kind": self.scene.manifest.kind,
            "question": question,
            "task": self.task.summary() if self.task else None,
            "rows": [self.row(row) for row in self.rows],
            "comparisons": [_told(gap) for gap in gaps.values()],
            "verdict": {"sentence": self.said(gaps, question), "leads": self.leads(question)},
            "efficiency": self.efficiency(gaps),
            "free_order": self.free_order(),
            "trust": self.trust(question),
            "leaks": self.scene.leaks,
            "notes": self.notes(len(gaps)),
        }

    def row(self, row: Row) -> dict[str, Any]:
        """One line as JSON: each score as the mean over seeds with its interval, and the seeds' own."""
        told: dict[str, Any] = {"name": row.name, "role": row.role, "seeds": len(row.outcomes), **row.facts}
        for question in (KNN, LINEAR, VIEWS):
            right = row.right(question)
            if right is not None:
                interval = contest.of_row(right, self.groups(question))
                each = right.mean(axis=1).tolist()
                told[question] = {"accuracy": float(right.mean()), "interval": list(interval), "each": each}
        free = [one["label_free"] for one in row.outcomes if "label_free" in one]
        return told | {"label_free": {name: float(np.mean([one[name] for one in free])) for name in scores_of(free)}}

    def gaps(self, question: str) -> dict[tuple[str, str], Gap]:
        """Every comparison that the verdict may speak of, as one family."""
        right: dict[str, Right] = {}
        for row in self.rows:
            if (one := row.right(question)) is not None:
                right[row.name] = one
        names = [row.name for row in self.methods]
        pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
        others = [row.name for row in self.rows if row.name in verdict.CALLED]
        pairs += [(name, other) for name in names for other in others]
        for name in names:
            right[f"{verdict.UNTRAINED}/{name}"] = read([one["right"][question] for one in self.untrained[name]])
            pairs.append((name, f"{verdict.UNTRAINED}/{name}"))
        learned = next((row for row in self.rows if row.role == verdict.SUPERVISED), None)
        if learned is not None and self.task:
            right[verdict.SUPERVISED] = read([one["right"][LINEAR] for one in learned.outcomes])
            for row in self.methods:
                right[f"{LINEAR}/{row.name}"] = read([one["right"][LINEAR] for one in row.outcomes])
                pairs.append((verdict.SUPERVISED, f"{LINEAR}/{row.name}"))
        found = contest.compared(right, pairs, self.groups(question))
        return {(gap.first, gap.second): gap for gap in found}

    def said(self, gaps: Mapping[tuple[str, str], Gap], question: str) -> str:
        """The verdict. Every comparison in it is one of `gaps`."""
        if (groups := len(np.unique(self.groups(question)))) < FEWEST:
            return f"There are too few groups of test pictures to tell anything apart ({groups}, and {FEWEST} needed)."
        ranked = [row.name for row in sorted(self.methods, key=lambda row: -_mean(row, question))]
        others = [row.name for row in self.rows if row.name in verdict.CALLED]
        plain = {(a.split("/")[-1], b.split("/")[0]): gap for (a, b), gap in gaps.items() if not b.startswith(LINEAR)}
        parts = [verdict.order(plain, ranked)] if len(ranked) > 1 else []
        parts += verdict.beside(plain, ranked, others)
        idle = verdict.no_gain(plain, ranked, FINDERS[question])
        told = ["; ".join([*parts, idle] if idle else parts) + "."]
        if question == VIEWS:
            told.append(verdict.without_labels(self.leads(question), self.free_order()))
        probes = {(a, b.split("/")[-1]): gap for (a, b), gap in gaps.items() if b.startswith(LINEAR)}
        if probes:
            told.append(verdict.against_labels(probes, ranked) + ".")
        return " ".join(told)

    def leads(self, question: str) -> dict[str, float]:
        """How often each method is first when test pictures and seeds are drawn again."""
        right = {row.name: read([one["right"][question] for one in row.outcomes]) for row in self.methods}
        return contest.leading(right, self.groups(question)) if right else {}

    def free_order(self) -> dict[str, list[str]]:
        """The methods, best first, as each label-free score has them (mean over seeds)."""
        free = {row.name: [one["label_free"] for one in row.outcomes] for row in self.methods}
        found = {}
        for score in scores_of([one for several in free.values() for one in several]):
            if score not in SHAPE:
                means = [float(np.mean([_turned(score, one) for one in several])) for several in free.values()]
                found[score] = [name for _, name in sorted(zip(means, free, strict=True), reverse=True)]
        return found

    def efficiency(self, known: Mapping[tuple[str, str], Gap]) -> dict[str, Any] | None:
        """Accuracy by number of labels: frozen features beside training from scratch."""
        if self.task is None or not self.methods:
            return None
        counts = {labels.name: labels.count for labels in self.scene.budgets}
        right = self.labelled()
        best = max(self.methods, key=lambda row: _mean(row, LINEAR)).name
        others = (verdict.SUPERVISED, "simple_statistics", "pretrained")
        mine = [row.name for row in self.methods]
        pairs = [(f"{one}@{name}", f"{other}@{name}") for one in mine for other in others for name in counts]
        pairs = [pair for pair in pairs if pair[0] in right and pair[1] in right]
        gaps = {(gap.first, gap.second): gap for gap in contest.compared(right, pairs, self.task.test_groups)}
        rows: dict[str, list[dict[str, Any]]] = {}
        for name, one in right.items():
            line, budget = name.split("@")
            interval = list(contest.of_row(one, self.task.test_groups))
            rows.setdefault(line, []).append({"budget": budget, "accuracy": float(one.mean()), "interval": interval})
        for scores in rows.values():
            scores.sort(key=lambda score: counts[score["budget"]])
        budgets = [{"name": name, "labels": count} for name, count in counts.items()]
        idle = not known[best, f"{verdict.UNTRAINED}/{best}"].better
        counts = {name: count for name, count in counts.items() if name in self.drawn}
        told = verdict.pretrain(gaps, counts, best, idle=idle) if counts else ""
        return {"budgets": budgets, "rows": rows, "comparisons": [_told(g) for g in gaps.values()], "sentence": told}

    def labelled(self) -> dict[str, Right]:
        """`row@budget`: for each seed the share of draws in which each test picture was named rightly.

        Draws are the same for every row, as many as there are of training from scratch: what is told holds for these.
        """
        every, right = self.scene.budgets[-1].name, {}
        for row in self.rows:
            for name, draws in row.outcomes[0].get("few", {}).items():
                number = len(self.drawn.get(name, draws))
                seeds = [read(one["few"][name])[:number].mean(axis=0) for one in row.outcomes]
                right[f"{row.name}@{name}"] = np.stack(seeds)
        for name, outcomes in self.drawn.items():
            draws = read([one["right"][LINEAR] for one in outcomes])
            right[f"{verdict.SUPERVISED}@{name}"] = draws if name == every else draws.mean(axis=0, keepdims=True)
        return right

    def trust(self, question: str) -> dict[str, Any]:
        """How each label-free score ranks the runs, beside how well they do."""
        runs = [one for row in self.methods for one in row.outcomes]
        quality = [_share(one["right"][question]) for one in runs]
        orders = self.free_order()
        scores = {name: [_turned(name, one["label_free"]) for one in runs] for name in orders}
        return {name: _agreement(scores[name], quality) for name in orders}

    def notes(self, comparisons: int) -> list[str]:
        """What people should know before they rely on it."""
        told = [TOGETHER.format(comparisons)]
        if max((len(row.outcomes) for row in self.methods), default=0) == 1:
            told.append(ONCE)
        task, leaked, manifest = self.scene.task, self.scene.leaks, self.scene.manifest
        told += [KINDS[manifest.kind].said(leaked["sentence"])] if leaked else []
        told += [*described(manifest, self.scene.measured, ""), *measure.of_copies(manifest)]
        told += measure.unread(manifest, self.scene.rows, self.scene.measured)
        return told + (list(task.notes) if isinstance(task, Task) else [task])


def _mean(row: Row, question: str) -> float:
    right = row.right(question)
    return float(right.mean()) if right is not None else 0.0


def scores_of(several: Sequence[Mapping[str, float]]) -> list[str]:
    """The scores that all of them have: some can be left out, of a collapsed encoder."""
    return [name for name in (several[0] if several else ()) if all(name in one for one in several)]


def _turned(score: str, free: Mapping[str, float]) -> float:
    """Such that more is better."""
    return BETTER.get(score, float)(free[score])


def _share(bits: str) -> float:
    return bits.count("1") / max(1, len(bits))


def _told(gap: Gap) -> dict[str, Any]:
    return {
        "first": gap.first,
        "second": gap.second,
        "difference": gap.difference,
        "interval": list(gap.interval),
        "shown": gap.shown,
    }


def _agreement(scores: Sequence[float], quality: Sequence[float]) -> dict[str, Any] | None:
    """None where a score of a collapsed run is no number."""
    return rank_agreement(scores, quality) if np.isfinite([*scores, *quality]).all() else None
