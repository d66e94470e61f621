"""Pictures that people look at beside the numbers: questions and what lies nearest, as small pictures in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from selfsight.data.manifest import Manifest
from selfsight.embedding.embed import Readable
from selfsight.evaluation.kinds import Kind
from selfsight.neighbours import nearest

QUESTIONS, FOUND = 6, 6


@dataclass(frozen=True)
class Album:
    """Rows of features by place; `rows` says which pictures of the manifest they belong to."""

    pictures: Readable
    manifest: Manifest
    kind: Kind
    rows: Int[np.ndarray, "N"]

    def shown(self, place: int, **more: Any) -> dict[str, Any]:
        """One picture: its name, its label (or None), what is shown of it, and `more`."""
        row = int(self.rows[place])
        label = int(self.manifest.labels[row])
        told = {"name": self.manifest.names[row], "label": self.manifest.classes[label] if label >= 0 else None}
        return told | self.kind.shown(self.pictures.read(row)[0]) | more

    def beside(
        self,
        vectors: Float[np.ndarray, "N D"],
        asked: Int[np.ndarray, "Q"],
        among: Int[np.ndarray, "M"],
        told: Sequence[dict[str, Any]] = (),
    ) -> list[dict[str, Any]]:
        """At most six of the places asked for, evenly spaced, each with those among `among` that lie nearest to it.

        `told` is said of each place asked for.
        """
        chosen = np.linspace(0, len(asked) - 1, min(QUESTIONS, len(asked))).astype(int)
        scores, found = nearest(vectors[asked[chosen]], vectors[among], min(FOUND + 1, len(among)))
        table = []
        for number, near, similar in zip(chosen, among[found], scores, strict=True):
            place = int(asked[number])
            others = [(int(one), float(score)) for one, score in zip(near, similar, strict=True) if one != place]
            query = self.shown(place, **(told[number] if told else {}))
            table.append({"query": query, "found": [self.shown(one, score=score) for one, score in others[:FOUND]]})
        return table

    def pairs(self, places: Sequence[tuple[int, int, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Pictures two by two; what is told is said of the second."""
        some = np.linspace(0, len(places) - 1, min(QUESTIONS, len(places))).astype(int)
        chosen = [places[number] for number in some]
        return [{"query": self.shown(one), "found": [self.shown(other, **told)]} for one, other, told in chosen]
