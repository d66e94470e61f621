"""Vectors of pictures that can be searched, exactly, and the encoder that makes vectors of other pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
from jaxtyping import Bool, Float, Int

from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.embedding import progress, store
from selfsight.embedding.embed import batches
from selfsight.errors import DataError, DiskError, RunError, typed
from selfsight.neighbours import nearest, unit
from selfsight.nn import families
from selfsight.nn.embedder import Embedder
from selfsight.runs import RunFolder
from selfsight.searching.eye import Eye
from selfsight.searching.narrow import Narrow
from selfsight.searching.parts import Part, parts
from selfsight.searching.quick import Quick, speedy, without_self

__all__ = ["Hits", "Index"]

TOLD = ("row", "path", "label", "file", "digest")  # of a row, to people and programs
Found = tuple[Float[np.ndarray, "Q K"], Int[np.ndarray, "Q K"]]  # cosines and rows, best first


class Hits(list[dict[str, Any]]):
    """Answers, best first; `recall` is the share of them that such a search finds, None where it looked at all rows."""

    def __init__(self, found: Iterable[dict[str, Any]] = (), recall: float | None = None) -> None:
        super().__init__(found)
        self.recall = recall


class Index:
    """N vectors of D numbers, memory-mapped, and whose they are. Row i is row i of embeddings.npy."""

    quick: Quick | None = None  # what answers in place of the exact search, see `speed_up`

    def __init__(
        self, stored: store.Stored, where: str, encoder: Path | None = None, folder: Path | None = None
    ) -> None:
        self.vectors: Float[np.ndarray, "N D"] = stored.vectors
        self.table: pyarrow.Table = stored.table
        self.facts: dict[str, Any] = dict(stored.facts)
        self.where, self.folder = where, folder or Path(where)
        self.eye = Eye(where, self.facts, encoder)
        if self.vectors.ndim != 2:
            raise RunError(f"{where!r} holds vectors of patches; embed without --patches to search")

    @classmethod
    def open(cls, place: str | Path, *, encoder: Path | None = None) -> Index:
        """The index of a folder that `embed` wrote, or of a run: of its own pictures, made on first use.

        `encoder` is the run whose encoder made a folder's vectors, where it is not where it was; a run has its own.
        RunError when it is neither.
        """
        folder = Path(place)
        if (folder / "recipe.yaml").is_file():
            return cls(_of_run(RunFolder(folder)), str(place), folder, folder / "embeddings")
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
    def parts(self) -> list[Part | None]:
        """What the run says of each picture; None where it has another one."""
        return parts(self.eye.folder, self.paths, self.table["digest"].to_pylist())

    @cached_property
    def lengths(self) -> Float[np.ndarray, "N"]:
        """Length of each vector."""
        return np.asarray(self.table["length"].to_numpy())

    @property
    def encoder(self) -> Embedder:
        """What made the vectors. RunError when it is not there, or is another one by now."""
        return self.eye.encoder

    def view(self, sample: str | Path | bytes) -> np.ndarray:
        """What the encoder sees of a file, or of the bytes of one. ImageError when it cannot be decoded."""
        return self.eye.view(sample)

    def embed(self, sample: str | Path | bytes) -> Float[np.ndarray, "D"]:
        """The vector of a picture that need not be in the index: a file, or the bytes of one."""
        return self.eye.embed(sample)

    def nearest(self, vectors: Float[np.ndarray, "Q D"], k: int, where: Bool[np.ndarray, "N"] | None = None) -> Found:
        """Cosines and rows of the k nearest to each vector (fewer where there are not so many), best first.

        `where` says which rows may be found.
        """
        if len(self) and vectors.shape[1] != self.vectors.shape[1]:
            raise RunError(
                f"{self.where!r} holds vectors of {self.vectors.shape[1]} numbers, and a query of {vectors.shape[1]} "
                "came: they are of different encoders"
            )
        k = min(k, len(self) if where is None else int(where.sum()))
        if not k or not len(vectors):
            return np.zeros((len(vectors), 0), np.float32), np.zeros((len(vectors), 0), np.int64)
        if self.quick and where is None:
            return self.quick.search(unit(vectors), k)
        return nearest(vectors, self.vectors, k, lengths=self.lengths, among=where)

    def speed_up(self) -> None:
        """From now on search without a filter by faiss, in a part of the rows; see `quick`."""
        self.quick = speedy(self.vectors, self.lengths, self.folder, str(self.facts["table"]))

    @property
    def recall(self) -> float | None:
        """Share of the ten nearest that a search finds; None where it is exact."""
        return self.quick.recall if self.quick else None

    def find(self, vector: Float[np.ndarray, "D"], k: int, narrow: Narrow, without: Sequence[int] = ()) -> Hits:
        """The k nearest to one vector, told; `without` are rows that are no answer."""
        where = narrow.rows(self.table) if narrow else None
        cosines, rows = self.nearest(vector[None], k + len(without), where)
        left = ~np.isin(rows[0], without)
        return Hits(self.told(rows[0][left][:k], cosines[0][left][:k]), self.recall if where is None else None)

    def told(self, rows: Int[np.ndarray, "K"], cosines: Float[np.ndarray, "K"]) -> list[dict[str, Any]]:
        """Rows for people and programs: row, path, label, file, digest, similarity."""
        shown = self.table.select(list(TOLD)).take(rows).to_pylist()
        numbers = zip(shown, cosines.tolist(), strict=True)
        return [{**one, "file": os.fsdecode(one["file"]), "similarity": round(cosine, 6)} for one, cosine in numbers]

    def row_of(self, name: str) -> int | None:
        """The first row of this name, or of this file."""
        for column, value in (("path", store.shown(name)), ("file", os.fsencode(os.path.abspath(name)))):
            place = pyarrow.compute.index(self.table[column], value).as_py()
            if place >= 0:
                return int(place)
        return None

    def vector(self, row: int) -> Float[np.ndarray, "D"]:
        """The vector of a row. DataError when there is no such row."""
        if not 0 <= row < len(self):
            raise DataError(f"there is no row {row} in {self.where!r}: its {len(self)} rows count from 0")
        return np.asarray(self.vectors[row])

    def unit(self, rows: Int[np.ndarray, "K"]) -> Float[np.ndarray, "K D"]:
        """Vectors of some rows, in memory, brought to length one."""
        return unit(np.asarray(self.vectors[rows]))

    def neighbours(self, rows: Int[np.ndarray, "K"], k: int) -> Found:
        """The k nearest of these rows to each of them (fewer where there are not so many), itself left out."""
        k = min(k, len(rows) - 1)
        if self.quick and len(rows) == len(self):
            return without_self(*self.quick.search(self.unit(rows), k + 1))
        pool = self.unit(rows)
        cosines, places = nearest(pool, pool, k, exclude_self=True, lengths=np.ones(len(pool), np.float32))
        return cosines, rows[places]


def _of_run(run: RunFolder) -> store.Stored:
    """The vectors of a run's own pictures, in RUN/embeddings; made anew when they are of an earlier encoder."""
    folder, listing = run.folder / "embeddings", run.folder / "manifest.parquet"
    owner, least = store.digest(run.encoder_folder()), run.recipe.least_side
    known = store.facts_of(folder) or {}
    if (known.get("encoder"), known.get("least_side")) != (owner, least):
        encoder, manifest = families.load(run.encoder_folder()).eval(), Manifest.load(listing)
        with progress.line("embedding", len(manifest)) as tell, _elsewhere(run):
            pictures = pictures_of(run.recipe, manifest)
            parts = batches(encoder, pictures, manifest.every_row(), size=run.recipe.size, tell=tell)
            store.write(folder, parts, pictures, store.facts_for(run, encoder.kind))
    stored = store.read(folder)
    return _placed(stored, run, Manifest.load(listing)) if listing.is_file() else stored


@contextmanager
def _elsewhere(run: RunFolder) -> Iterator[None]:
    """Who may not write into a run can have its vectors somewhere else."""
    try:
        yield
    except DiskError as error:
        reason = getattr(error.__cause__, "strerror", None)
        raise DiskError(
            f"{str(run.folder / 'embeddings')!r} cannot be written ({reason}); embed its pictures where you may write, "
            f"`{typed('embed', run.folder, 'DATA', '--out', 'DIR')}`, and give DIR with --encoder {run.folder}"
        ) from error


def _placed(stored: store.Stored, run: RunFolder, manifest: Manifest) -> store.Stored:
    """The same vectors of files that are where the run has them: they may have been moved since."""
    told = zip(map(store.shown, manifest.names), manifest.digests, strict=True)
    now = dict(zip(told, map(os.fsencode, manifest.paths), strict=True))
    there, old = set(now.values()), stored.table["file"].to_pylist()
    keys = zip(stored.table["path"].to_pylist(), stored.table["digest"].to_pylist(), strict=True)
    files = [file if file in there else now.get(key, file) for file, key in zip(old, keys, strict=True)]
    if files == old:
        return stored
    column = stored.table.schema.get_field_index("file")
    placed = replace(stored, table=stored.table.set_column(column, "file", pyarrow.array(files, pyarrow.binary())))
    facts = store.facts_for(run, stored.facts["kind"], stored.facts["patches"])
    try:
        return store.read(store.write(run.folder / "embeddings", (), None, facts, (placed, np.arange(len(files)))))
    except (DiskError, RunError):  # a place that cannot be written: told anew the next time
        return placed
