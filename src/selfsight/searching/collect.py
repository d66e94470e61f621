"""`selfsight embed`: pictures become vectors, in a folder or in a database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from selfsight import heap
from selfsight.data import source
from selfsight.data.manifest import scan
from selfsight.data.pictures import pictures_of
from selfsight.embedding import progress, store, upkeep
from selfsight.embedding.embed import batches
from selfsight.errors import RecipeError
from selfsight.nn import families
from selfsight.recipe import Named
from selfsight.runs import RunFolder
from selfsight.searching.database import Database
from selfsight.searching.fill import fill

__all__ = ["Wanted", "collect"]


@dataclass(frozen=True)
class Wanted:
    """Where to, and what to do with what is there."""

    out: Path | None
    to: str | None
    append: bool
    prune: bool
    patches: bool
    batch: int

    def check(self, data: list[str] | None) -> None:
        """RecipeError for what does not go together."""
        if (self.out is None) == (self.to is None):
            raise RecipeError("say where the vectors go: --out FOLDER, or --to postgresql://...")
        if data is None and not self.prune:
            raise RecipeError("there is nothing to embed; give pictures as DATA (only --prune needs none)")
        if data is not None and self.prune and not self.append and self.to is None:
            raise RecipeError("--prune with DATA needs --append as well; without DATA it only leaves out what is gone")
        if self.to is not None and self.patches:
            raise RecipeError("--to takes one vector for each picture; leave --patches out")
        if self.batch < 1:
            raise RecipeError(f"--batch {self.batch} cannot be: it counts pictures, from 1 on")


def collect(run: RunFolder, data: list[str] | None, named: Named, wanted: Wanted) -> str:
    """Write, add to or clean up an index; returns where it is. What changed is told on stderr."""
    wanted.check(data)
    encoder = families.load(run.encoder_folder()).eval()
    database = Database(wanted.to) if wanted.to is not None else None  # refuses before anything takes long
    manifest = None
    if data is not None:
        columns, inherited = named.over(run.recipe.columns)
        manifest = scan(source.find(data, **columns.spelled(), inherited=inherited, kind=encoder.kind))
    pictures = None if manifest is None else pictures_of(run.recipe, manifest)
    facts = store.facts_for(run, encoder.kind, wanted.patches)

    def parts_of(rows: Int[np.ndarray, "M"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if pictures is not None and len(rows):
            with progress.line("embedding", len(rows)) as tell, heap.kept():
                size, batch = run.recipe.size, wanted.batch
                yield from batches(encoder, pictures, rows, size=size, batch=batch, patches=wanted.patches, tell=tell)

    todo: upkeep.Change | None = None
    if database is not None:
        todo = fill(database, {**facts, "width": encoder.width}, manifest, parts_of, prune=wanted.prune)
    elif wanted.out is not None and (wanted.append or wanted.prune):
        todo = upkeep.update(wanted.out, facts, pictures, parts_of, prune=wanted.prune)
    elif wanted.out is not None and pictures is not None:
        store.write(wanted.out, parts_of(pictures.manifest.every_row()), pictures, facts)
    if pictures is not None and (bad := pictures.bad_files):
        said = f"{len(bad):,} that cannot be read left out, such as {bad[0].path!r} ({bad[0].reason})."
        print(said, file=sys.stderr)
    if todo is not None:
        print(f"{todo}.", file=sys.stderr)
    return database.where if database is not None else str(wanted.out)
