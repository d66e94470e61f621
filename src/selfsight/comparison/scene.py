"""What every row of the table is measured on: the same pictures, split, views and labels, in the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures
from selfsight.data.splits import repeated, units
from selfsight.embedding.embed import embed
from selfsight.errors import DataError
from selfsight.evaluation import contest, efficiency, geometry, knn, leaks, linear, measure, protocol
from selfsight.evaluation.album import Album
from selfsight.evaluation.efficiency import Labels
from selfsight.evaluation.kinds import Kind, Plain, kind_of
from selfsight.evaluation.portion import portion
from selfsight.evaluation.task import Task, pose
from selfsight.nn.embedder import Embedder
from selfsight.nn.whitening import Whitening
from selfsight.recipe import Recipe
from selfsight.training import session

Outcome = dict[str, Any]
"""One row for one seed, as JSON: `right` {question: bits}, `few` {budget: [bits of each draw]}, `label_free`, ..."""
Views = tuple[Float[np.ndarray, "M D"], Float[np.ndarray, "M D"]]

CHEAPEST = "simple_statistics"  # the row without training whose label efficiency is told
SHOWN = 4  # questions whose neighbours are kept to be looked at


@dataclass(frozen=True)
class Scene:
    """The pictures of a comparison, and the folder where what was measured is kept."""

    manifest: Manifest
    pictures: Pictures
    recipe: Recipe  # any of the comparison's: size and range are the same in all
    folder: Path

    @cached_property
    def plain(self) -> tuple[dict[str, Float[np.ndarray, "N _"]], Float[np.ndarray, "N S S C"]]:
        """Features of the rows that need no training, and cells, of all pictures that can be read (see `rows`)."""
        return measure.without_training(self.pictures, self.rows, self.known, self.kind)

    @cached_property
    def leaks(self) -> dict[str, Any] | None:
        """What the training part gives away, as `evaluate` looks for it; None where there are not both parts."""
        if (found := self.kept("leaks")) is None:
            features, grids = self.plain
            *_, statistics = features.values()
            leaked = leaks.find(self.manifest.taking(self.rows), grids, statistics, self.manifest)
            found = [leaked.told(remedy="")] if leaked else []
            self.keep("leaks", found)
        return dict(found[0]) if found else None

    @cached_property
    def groups(self) -> Int[np.ndarray, "N"]:
        """Of every row of the manifest, copies in one."""
        return units(self.manifest.groups, self.manifest.digests)

    @cached_property
    def kind(self) -> Kind:
        """What evaluation does for this kind of sample."""
        return kind_of(self.manifest.kind, self.recipe.pixels["low"], self.recipe.pixels["high"])

    @cached_property
    def measured(self) -> Int[np.ndarray, "K"]:
        """Rows of the pictures that all are judged by, as `evaluate` chooses them."""
        return portion(self.manifest)

    @cached_property
    def rows(self) -> Int[np.ndarray, "N"]:
        """Rows of the manifest that can be read; features of all encoders are of these."""
        unread = self.kept("unread")
        if unread is None:
            with measure.readable(self.manifest, "if they were moved, give their new place as DATA"):
                unread = [int(row) for row in self.measured if self.pictures.read(int(row))[1] != row]
            self.keep("unread", unread)
        return np.setdiff1d(self.measured, np.array(unread, np.int64))

    @cached_property
    def known(self) -> Int[np.ndarray, "T"]:
        """Training rows: all where there is no other."""
        every = self.manifest.every_row()
        return every if self.manifest.test.all() else every[~self.manifest.test]

    @cached_property
    def test(self) -> Bool[np.ndarray, "N"]:
        """Of `rows`."""
        return np.asarray(self.manifest.test[self.rows])

    @cached_property
    def task(self) -> Task | str:
        """What labels and split pose, over `rows`; or why they pose nothing."""
        return pose(self.manifest.labels[self.rows], self.groups[self.rows], self.test, self.manifest.classes)

    @cached_property
    def budgets(self) -> list[Labels]:
        """Of labels; none without a task."""
        return efficiency.budgets(self.task) if isinstance(self.task, Task) else []

    def kept(self, name: str) -> Any:
        """What was measured before under this name."""
        file = self.folder / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def keep(self, name: str, outcome: Any) -> None:
        """Write it down, whole or not at all."""
        with session.room_in(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            checkpoints.replace_file(self.folder / f"{name}.json", json.dumps(outcome).encode())

    def of_encoder(self, name: str, encoder: Embedder, *, trained: bool = True, shown: bool = False) -> Outcome:
        """Measure an encoder, or take what was measured; an untrained one gets statistics of training pictures first.

        `shown`: keep what it finds nearest to a few pictures, the same for all rows.
        """
        if (found := self.kept(name)) is not None:
            return dict(found)
        size = self.recipe.size
        one = encoder.eval() if trained else measure.with_statistics(encoder, self.pictures, self.known, size)
        features, rows = embed(one, self.pictures, self.rows, size=size, plain=True)
        if len(rows) != len(self.rows):
            raise DataError("some pictures can no longer be read; see that they stay as they are, and start again")
        role = protocol.ENCODER if trained and name != protocol.START else name
        white = encoder.whitening if role == protocol.ENCODER else self.whitening(features)
        outcome = self.of_features(features, self.pairs({"encoder": one})["encoder"], role, white, few=trained)
        if shown:
            self.show(name, protocol.spaces(role, features, white)[0])
        self.keep(name, outcome)
        return outcome

    def of_plain(self, encoder: Embedder) -> dict[str, Outcome]:
        """The rows that need no training, measured once; `encoder` only draws views as for all others."""
        found: dict[str, Outcome] | None = self.kept("plain")
        if found is None:
            pairs = self.pairs({"encoder": encoder}, self.kind.plain)
            plain, _ = self.plain
            found = {
                name: self.of_features(rows, pairs[name], name, self.whitening(rows), few=name == CHEAPEST)
                for name, rows in plain.items()
            }
            for name, features in plain.items():
                self.show(name, features)
            self.keep("plain", found)
        return found

    def pairs(self, encoders: Mapping[str, Embedder], plain: Plain = lambda views, half: {}) -> dict[str, Views]:
        """Features of two views of the same pictures, of the test part where there is one."""
        size = self.recipe.size
        ready = {name: measure.Ready.of("", one, self.pictures, self.known, size) for name, one in encoders.items()}
        found, chosen = measure.two_views(ready, self.pictures, self.asked, plain, size=size)
        self.keep("views", chosen.tolist())
        return found

    @property
    def asked(self) -> Int[np.ndarray, "Q"]:
        """Rows that are searched for by another view; of copies the first."""
        again = repeated([self.manifest.digests[row] for row in self.rows], self.test)
        return np.asarray(self.rows[(self.test if self.test.any() else ~self.test) & ~again])

    @property
    def view_groups(self) -> Int[np.ndarray, "M"]:
        """Groups of the pictures that two views were drawn of."""
        return self.groups[np.array(self.kept("views"), np.int64)]

    def whitening(self, features: Float[np.ndarray, "N D"]) -> Whitening | None:
        """What whitens a row that needs no training."""
        return Whitening.fit(features[np.isin(self.rows, self.known)])

    def of_features(
        self, features: Float[np.ndarray, "N D"], views: Views, role: str, white: Whitening | None, *, few: bool
    ) -> Outcome:
        """Everything that is measured of a row; with `few` also what it names with few labels.

        `role` and `white` say in which spaces vectors are compared by cosine, see `protocol.spaces`.
        """
        right = {"two_views": protocol.seen_again(role, views, white)}
        free = geometry.label_free(features) | geometry.of_views(*views)
        outcome: Outcome = {"label_free": free, "few": {}}
        if isinstance(self.task, Task):
            task = self.task
            large = linear.is_large([linear.AXES], len(task.classes))
            known = (features[task.train], task.train_labels, task.train_groups)
            its = protocol.spaces(role, features, white)
            parts = [(rows[task.train], *known[1:], rows[task.test], task.test_labels) for rows in its]
            near = max((knn.measure(*part) for part in parts), key=lambda one: one.accuracy)
            probe = linear.measure(*known, features[task.test], task.test_labels, large=large)
            right |= {"knn": near.correct, "linear": probe.correct}
            outcome |= {"chosen": {"k": near.k, "temperature": near.temperature, "decay": probe.decay}}
            drawn = efficiency.frozen(features, task, self.budgets[:-1], large=large) if few else {}
            drawn |= {self.budgets[-1].name: probe.correct[None]} if few else {}  # all labels: the linear probe
            outcome["few"] = {name: [bits(draw) for draw in draws] for name, draws in drawn.items()}
        return outcome | {"right": {question: bits(one) for question, one in right.items()}}

    def show(self, name: str, features: Float[np.ndarray, "N D"]) -> None:
        """Keep what a row finds nearest to a few pictures."""
        every = np.arange(len(self.rows))
        asked = np.flatnonzero(self.test) if self.test.any() else every
        asked = asked[np.linspace(0, len(asked) - 1, min(SHOWN, len(asked))).astype(int)]
        album = Album(self.pictures, self.manifest, self.kind, self.rows)
        self.keep(f"{name}-neighbours", album.beside(features, asked, every))


def bits(right: Bool[np.ndarray, "Q"]) -> str:
    """Rightly answered questions as a text of 0 and 1."""
    return "".join("1" if one else "0" for one in right)


def read(rows: list[str]) -> contest.Right:
    """What `bits` wrote, one row for each seed or draw."""
    return np.array([[float(one) for one in row] for row in rows])
