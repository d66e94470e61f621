"""Vectors of pictures that can be searched, and the encoder that makes vectors of other pictures."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
from jaxtyping import Bool, Float, Int

from selfsight.data.decode import Refused
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.data.ranges import conform, format_of
from selfsight.embedding import progress, store
from selfsight.embedding.embed import batches, vectors_of
from selfsight.errors import ImageError, RunError
from selfsight.neighbours import nearest
from selfsight.nn import families
from selfsight.nn.embedder import Embedder
from selfsight.runs import RunFolder

__all__ = ["Index"]


class Index:
    """N vectors of D numbers, memory-mapped, and whose they are. Row i is row i of embeddings.npy."""

    def __init__(self, stored: store.Stored, where: str, encoder: Path | None = None) -> None:
        self.vectors: Float[np.ndarray, "N D"] = stored.vectors
        self.table: pyarrow.Table = stored.table
        self.facts: dict[str, Any] = dict(stored.facts)
        self.where = where
        self._run = encoder or Path(self.facts["run"])
        if self.vectors.ndim != 2:
            raise RunError(f"{where!r} holds vectors of patches; embed without --patches to search")

    @classmethod
    def open(cls, place: str | Path, *, encoder: Path | None = None) -> Index:
        """The index of a folder that `embed` wrote, or of a run: of its own pictures, made on first use.

        `encoder` is the run whose encoder made the vectors, where it is not where it was. RunError when it is neither.
        """
        folder = Path(place)
        if (folder / "recipe.yaml").is_file():
            return cls(_of_run(RunFolder(folder)), str(place), encoder or folder)
        if not folder.is_dir():
            raise RunError(f"{str(place)!r} does not exist; give a run, or a folder that `selfsight embed` wrote")
        return cls(store.read(folder), str(place), encoder)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Index({self.where!r}, {len(self)} x {self.vectors.shape[1]})"

    @property
    def rows(self) -> Int[np.ndarray, "N"]:
        """Every row."""
        return np.arange(len(self))

    @cached_property
    def names(self) -> list[str]:
        """What people call the pictures: paths relative to what was embedded."""
        return list(self.table["path"].to_pylist())

    @cached_property
    def paths(self) -> list[str]:
        """The files, absolute; a file may be gone."""
        return [os.fsdecode(file) for file in self.table["file"].to_pylist()]

    @cached_property
    def labels(self) -> list[str | None]:
        """Labels; None is unlabelled."""
        return list(self.table["label"].to_pylist())

    @cached_property
    def lengths(self) -> Float[np.ndarray, "N"]:
        """Length of each vector."""
        return np.asarray(self.table["length"].to_numpy())

    def nearest(
        self, vectors: Float[np.ndarray, "Q D"], k: int, where: Bool[np.ndarray, "N"] | None = None
    ) -> tuple[Float[np.ndarray, "Q K"], Int[np.ndarray, "Q K"]]:
        """Cosines and rows of the k nearest to each vector (fewer where there are not so many), best first; exact.

        `where` says which rows may be found.
        """
        if vectors.shape[1] != self.vectors.shape[1] and len(self):
            raise RunError(
                f"{self.where!r} holds vectors of {self.vectors.shape[1]} numbers, and a query of {vectors.shape[1]} "
                "came: they are of different encoders"
            )
        k = min(k, len(self) if where is None else int(where.sum()))
        if not k or not len(vectors):
            return np.zeros((len(vectors), 0), np.float32), np.zeros((len(vectors), 0), np.int64)
        return nearest(vectors, self.vectors, k, lengths=self.lengths, among=where)

    @cached_property
    def encoder(self) -> Embedder:
        """What made the vectors. RunError when it is not there, or is another one by now."""
        run = RunFolder(self._run) if (self._run / "recipe.yaml").is_file() else None
        if run is None:
            raise RunError(f"the run whose encoder made {self.where!r} is not at {str(self._run)!r}; say --encoder RUN")
        folder = run.encoder_folder()
        if store.digest(folder) != self.facts["encoder"]:
            raise RunError(
                f"{self.where!r} belongs to another encoder than that of {str(self._run)!r}; embed the pictures again"
            )
        return families.load(folder).eval()

    def view(self, sample: str | Path | bytes) -> np.ndarray:
        """What the encoder sees of a file, or of the bytes of one. ImageError when it cannot be decoded."""
        kind, recipe = KINDS[self.encoder.kind], RunFolder(self._run).recipe
        name = f"{len(sample)} bytes" if isinstance(sample, bytes) else str(sample)
        try:
            array = kind.array(sample if isinstance(sample, bytes) else kind.read(str(sample)))
        except Refused as refused:
            raise ImageError(name, refused.reason, refused.detail) from refused
        return self.encoder.view(conform(array, format_of(recipe)), int(self.facts["size"]))

    def embed(self, sample: str | Path | bytes) -> Float[np.ndarray, "D"]:
        """The vector of a picture that need not be in the index: a file, or the bytes of one."""
        vector: np.ndarray = vectors_of(self.encoder, torch.from_numpy(self.view(sample)[None]))[0]
        return vector


def _of_run(run: RunFolder) -> store.Stored:
    """The vectors of a run's own pictures, in RUN/embeddings; made anew when they are of an earlier encoder."""
    folder, owner = run.folder / "embeddings", store.digest(run.encoder_folder())
    if (store.facts_of(folder) or {}).get("encoder") != owner:
        encoder, manifest = families.load(run.encoder_folder()).eval(), Manifest.load(run.folder / "manifest.parquet")
        with progress.line("embedding", len(manifest)) as tell:
            pictures = pictures_of(run.recipe, manifest)
            parts = batches(encoder, pictures, manifest.every_row(), size=run.recipe.size, tell=tell)
            store.write(folder, parts, pictures, store.facts_for(run))
    return store.read(folder)
