"""What the page asks for, by key: the server sends it, and `--export` writes it into files."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from selfsight.browsing import groups, maps
from selfsight.browsing.collection import Collection, Side
from selfsight.browsing.labels import Labels
from selfsight.browsing.late import Form, Late, kept
from selfsight.data.order import Purpose, keyed
from selfsight.searching.duplicates import duplicates
from selfsight.searching.outliers import NEIGHBOURS as COMPARED
from selfsight.searching.outliers import outliers

__all__ = ["NAMES", "NEAR", "NEIGHBOURS", "Payload", "Payloads"]

NAMES, NEAR = 4096, 256  # names, and lists of neighbours, that come together (source.js)
NEIGHBOURS = 12
ODD = 60  # outliers that are shown
MANY, SOME = 50_000, 20_000  # more pictures than MANY are not compared all with all, which takes minutes, but with SOME
LIMIT = 1.01  # of what lies between -1 and 1, rounded
KEY = re.compile(
    r"collection|names-(?P<chunk>[0-9]{1,7})|"
    r"(?P<what>points|column|clusters|duplicates|outliers|near)-(?P<side>[01])(?:-(?P<which>[a-z0-9]{1,12}))?"
)
TITLES = {
    "label": "Label",
    "split": "Split",
    "cluster": "Cluster",
    "prediction": "Prediction",
    "confidence": "Confidence",
    "likeness": "Likeness to its nearest",
}

Payload = bytes | dict[str, Any] | list[Any]  # numbers, little-endian; or JSON


class Payloads:
    """The data of the page. What takes long is computed once and kept beside the index."""

    def __init__(self, collection: Collection, labels: Labels, *, layout: str = "pca", searchable: bool = True) -> None:
        self.collection, self.labels = collection, labels
        self.layout, self.layouts, self.searchable = layout, maps.offered(), searchable
        self.late = Late()

    def read(self, key: str) -> Payload | None:
        """The data of a key, None where there is no such key; waits for what is being computed."""
        found = KEY.fullmatch(key)
        if found is None:
            return None
        if found["chunk"]:
            start = NAMES * int(found["chunk"])
            return self.collection.names[start : start + NAMES]
        if not found["what"]:
            return self.facts()
        number = int(found["side"])
        return self._of(number, found["what"], found["which"] or "") if number < len(self.collection.sides) else None

    def wanted(self) -> list[str]:
        """Everything that a page without a server needs."""
        size = len(self.collection)
        wanted = ["collection", *(f"names-{chunk}" for chunk in range(-(-size // NAMES)))]
        for side in range(len(self.collection.sides)):
            wanted += [f"points-{side}-{name}" for name in self.layouts]
            wanted += [f"column-{side}-{column['name']}" for column in self._columns(side)]
            wanted += [f"{what}-{side}" for what in ("clusters", "duplicates", "outliers")]
            wanted += [f"near-{side}-{chunk}" for chunk in range(-(-size // NEAR))]
        return wanted

    def facts(self) -> dict[str, Any]:
        """What there is."""
        sides = self.collection.sides
        return {
            "title": self.collection.title,
            "count": len(self.collection),
            "version": self.collection.version,
            "layout": self.layout,
            "layouts": [{"name": name, "title": maps.MAPS[name].title} for name in self.layouts],
            "searchable": self.searchable,
            "sides": [{"title": side.title, "columns": self._columns(number)} for number, side in enumerate(sides)],
        }

    def _of(self, number: int, what: str, which: str) -> Payload | None:
        side = self.collection.sides[number]
        if what == "points":
            return self._points(number, which).tobytes() if which in self.layouts else None
        if what == "column":
            known = {column["name"]: column for column in self._columns(number)}
            return self._column(number, known[which]) if which in known else None
        if what == "near":
            return self._near(side, int(which)) if which.isdecimal() else None
        return None if which else self.late.now(f"{what}-{number}", partial(getattr(self, f"_{what}"), number))

    def _points(self, number: int, name: str) -> np.ndarray:
        side = self.collection.sides[number]
        lay, form = partial(maps.places, name, side.vectors), Form("<f4", (len(side.rows), 2), -LIMIT, LIMIT)
        return self._kept(f"points-{number}-{name}", side, name, form, lay).astype("<f4")

    def _columns(self, number: int) -> list[dict[str, Any]]:
        """Name, title, kind and values of what is known of each picture; `late` is computed when it is asked for."""
        side = self.collection.sides[number]
        found = [_category("label", list(self.labels.values))]
        if splits := sorted({split for split in self.collection.splits if split is not None}):
            found.append(_category("split", splits))
        if side.classifier is not None:
            found += [_category("prediction", list(side.classifier.classes)), _number("confidence")]
        of = f" of {SOME:,} pictures" if len(self.collection) > MANY else ""
        return [*found, {**_category("cluster", None), "late": True}, {**_number("likeness", of), "late": True}]

    def _column(self, number: int, column: dict[str, Any]) -> bytes:
        name = column["name"]
        if name in ("label", "split"):
            given = self.labels.given if name == "label" else self.collection.splits
            place = {value: position for position, value in enumerate(column["values"])}
            return np.array([place.get(value, -1) for value in given], "<i4").tobytes()
        if name == "cluster":
            return self._cluster(number).astype("<i4").tobytes()
        if name == "likeness":
            return self._likeness(number).astype("<f4").tobytes()
        predicted = self.late.now(f"predicted-{number}", partial(_predicted, self.collection.sides[number]))
        return bytes(predicted[name].tobytes())

    def _cluster(self, number: int) -> Int[np.ndarray, "N"]:
        side = self.collection.sides[number]
        classes = len({label for label in self.collection.labels if label is not None})
        count = groups.count(len(self.collection), classes)
        make, form = partial(groups.clusters, side.vectors, count), Form("<i4", (len(side.rows),), 0, count - 1)
        return self._kept(f"cluster-{number}", side, "cluster", form, make)

    def _clusters(self, number: int) -> list[dict[str, Any]]:
        return groups.told(self.collection.sides[number].vectors, self._cluster(number))

    def _likeness(self, number: int) -> Float[np.ndarray, "N"]:
        side = self.collection.sides[number]
        form = Form("<f4", (len(side.rows),), -LIMIT, LIMIT)
        return self._kept(f"likeness-{number}", side, "likeness", form, partial(_alike, side))

    def _kept(self, key: str, side: Side, name: str, form: Form, make: Callable[[], np.ndarray]) -> np.ndarray:
        found: np.ndarray = self.late.now(key, partial(kept, side.kept, name, side.key, form, make))
        return found

    def _outliers(self, number: int) -> list[dict[str, Any]]:
        alike = self._likeness(number)
        order = np.argsort(alike, kind="stable")[:ODD].tolist()
        return [{"id": one, "score": round(float(alike[one]), 4)} for one in order if not np.isnan(alike[one])]

    def _duplicates(self, number: int) -> dict[str, str] | list[list[int]]:
        """Groups; of very many pictures the command that finds them, whose place no browser is told."""
        side = self.collection.sides[number]
        if len(side.rows) > MANY:
            return {"command": "selfsight search PLACE --duplicates"}
        return [side.place[group].tolist() for group in duplicates(side.index, np.sort(side.rows))]

    def _near(self, side: Side, chunk: int) -> list[Any] | None:
        ids = np.arange(NEAR * chunk, min(NEAR * (chunk + 1), len(self.collection)))
        if not len(ids):
            return None
        return [
            [{"id": one, "score": round(score, 4)} for one, score in found]
            for found in side.neighbours(ids, NEIGHBOURS)
        ]


def _category(name: str, values: list[str] | None) -> dict[str, Any]:
    return {"name": name, "title": TITLES[name], "kind": "category", "values": values}


def _number(name: str, of: str = "") -> dict[str, Any]:
    return {"name": name, "title": f"{TITLES[name]}{of}", "kind": "number"}


def _alike(side: Side) -> Float[np.ndarray, "N"]:
    """How like each picture is to its nearest; NaN for one that is alone."""
    if len(side.rows) > MANY:
        return _alike_to_some(side)
    rows, alike = outliers(side.index, np.sort(side.rows), len(side.rows))
    found = np.full(len(side.rows), np.nan, np.float32)
    found[side.place[rows]] = alike
    return found


def _alike_to_some(side: Side) -> Float[np.ndarray, "N"]:
    """The same beside some of the pictures, drawn once: one that is odd is as odd beside them."""
    among = np.zeros(len(side.index), bool)
    among[side.rows[keyed(0, 0, Purpose.ORDER).permutation(len(side.rows))[:SOME]]] = True
    found = np.empty(len(side.rows), np.float32)
    for start in range(0, len(side.rows), NAMES):
        rows = side.rows[start : start + NAMES]
        cosines, near = side.index.nearest(side.index.vectors[rows], COMPARED + 1, among)
        other = near != rows[:, None]
        other[other.all(axis=1), -1] = False  # as many for each
        found[start : start + len(rows)] = cosines[other].reshape(len(rows), COMPARED).mean(axis=1)
    return found


def _predicted(side: Side) -> dict[str, np.ndarray]:
    """The likeliest class of each picture, and how sure the classifier is."""
    assert side.classifier is not None
    best, most = np.empty(len(side.rows), "<i4"), np.empty(len(side.rows), "<f4")
    for start in range(0, len(side.rows), NAMES):  # of all at once, the chances of every class may be gigabytes
        chances = side.classifier.probabilities(np.asarray(side.vectors[start : start + NAMES]))
        best[start : start + NAMES], most[start : start + NAMES] = chances.argmax(axis=1), chances.max(axis=1)
    return {"prediction": best, "confidence": most}
