"""The training rows of a manifest, ready for loop, monitor and method: test rows do not exist here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfsight import distributed
from selfsight.data.loader import Loader
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import BadFile, Pictures, add_bad_files
from selfsight.data.ranges import format_of
from selfsight.embedding.embed import embed
from selfsight.errors import AddressError
from selfsight.methods.base import Batch, Method, Prepared
from selfsight.recipe import Recipe
from selfsight.training.build import views_of
from selfsight.training.monitor import Monitor


class TrainingData:
    """Loader, monitor and feature pass over the same rows in the same order."""

    def __init__(self, recipe: Recipe, manifest: Manifest, method: Method, folder: Path, workers: int) -> None:
        self.recipe, self.folder = recipe, folder
        noted, least = folder / "bad_files.csv", recipe.least_side
        self.pictures = Pictures(manifest, format_of(recipe), noted=noted, kept=True, least=least)
        self.told = 0  # unreadable files of this rank of which the others know
        self.rows = manifest.train_rows()
        self.labels = torch.from_numpy(manifest.labels[self.rows])
        self.loader = Loader(
            self.pictures, self.rows, self.labels, views_of(recipe, method), seed=recipe.seed, workers=workers,
            pinned=recipe.device.startswith("cuda"),
        )  # fmt: skip
        self.product = method.product
        if distributed.rank() == 0:
            _ = self.monitor
        distributed.everyones(None, patience=distributed.PATIENCE)  # until rank 0 has it

    @cached_property
    def monitor(self) -> Monitor:
        """On rank 0, which alone looks."""
        manifest = self.pictures.manifest
        return Monitor(
            self.product,
            self.pictures,
            self.rows,
            manifest.labels,
            manifest.groups,
            size=self.recipe.size,
            count=self.recipe.monitor_pictures,
            seed=self.recipe.seed,
        )

    def prepared(self, method: Method, *heard: Callable[[str], None]) -> Prepared:
        """What `prepare` may look at; its warnings are `heard` by each of these."""

        def say(sentence: str) -> None:
            for hear in heard:
                hear(sentence)

        return Prepared(
            seed=self.recipe.seed,
            labels=self.labels,
            images=self.images,
            features=lambda: self.features(method),
            say=say,
            batch=self.recipe.batch,
        )

    def images(self, every: int = 1) -> Iterator[np.ndarray]:
        """Every training picture, or every k-th, decoded, in data order."""
        return (self.pictures.read(int(row), self.rows)[0] for row in self.rows[::every])

    def features(self, method: Method) -> Float[Tensor, "N D"]:
        """Embeddings of the training pictures in data order, the same on every rank; an unreadable one gives zeros."""
        encoder = method.product

        def embedded(part: slice) -> Float[Tensor, "M D"]:
            rows = self.rows[part]
            found, kept = embed(encoder, self.pictures, rows, size=self.recipe.size, device=encoder.device)
            full = np.zeros((len(rows), encoder.width), np.float32)
            full[np.searchsorted(rows, kept)] = found
            return torch.from_numpy(full)

        return distributed.of_first(embedded, (len(self.rows), encoder.width))

    def close(self) -> None:
        """However training ends: what could not be read is on disk. A full disk must not hide why it ended."""
        self.loader.close()
        if distributed.rank() == 0:
            with suppress(OSError):
                self.note_bad_files()

    @property
    def untold(self) -> bool:
        """Whether this rank met unreadable files of which the others do not know."""
        return len(self.pictures.met) > self.told

    def tell_bad_files(self) -> None:
        """What each rank met, to all: together they must stay below the allowed share, and rank 0 writes them down."""
        own = self.pictures.met
        for met in distributed.everyones(own):
            self.pictures.hear(met)
        self.told = len(own)

    @property
    def found_bad(self) -> list[BadFile]:
        """The files that turned out unreadable since the scan."""
        return self.pictures.bad_files[len(self.pictures.manifest.bad) :]

    def note_bad_files(self) -> None:
        """Bring bad_files.csv up to date; what was found before the run was stopped stays in it."""
        add_bad_files(self.folder / "bad_files.csv", self.pictures.bad_files)


def reachable(batches: Iterator[Batch], save: Callable[[], None]) -> Iterator[Batch]:
    """The batches. When the next ones are out of reach, `save` first: the steps that are done are not lost."""
    try:
        yield from batches
    except AddressError:
        save()
        raise
