"""An encoder's vectors put to use: what is near, what is twice there, what is odd, what to label next.

What `selfsight embed` and `selfsight search` take stands here; heavy libraries are imported when needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from selfsight.recipe import Data, Named, given
from selfsight.runs import RunFolder

__all__ = ["Query", "embed", "search"]

Query = str | Path | int  # a file or a name, or a row


def embed(
    run: str | Path,
    data: Data | None = None,
    *,
    out: Path | None = None,
    to: str | None = None,
    append: bool = False,
    prune: bool = False,
    patches: bool = False,
    batch: int = 256,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    shared_labels: bool = False,
) -> Path | str:
    """Turn pictures into vectors: embeddings.npy (float32, memory-mappable), embeddings.parquet (path, label, row).

    `embeddings.json` says which encoder they belong to. Files that cannot be read have no vector; they are named
    in `bad_files.csv`. Or into a PostgreSQL database with pgvector (`to`), where the same command goes on.
    """
    from selfsight.searching import collect

    its = RunFolder(run)
    named = Named(label_column, group_column, split_column, shared_labels)
    wanted = collect.Wanted(None if out is None else Path(out), to, append, prune, patches, batch)
    where = collect.collect(its, None if data is None else given(data), named, wanted)
    return where if to is not None else Path(where)


def search(
    place: str | Path,
    query: Query | Sequence[Query] | None = None,
    *,
    unlike: Query | Sequence[Query] | None = None,
    k: int = 10,
    duplicates: bool = False,
    outliers: bool = False,
    diverse: int | None = None,
    label: str | Sequence[str] | None = None,
    path: str | None = None,
    approximate: bool = False,
    encoder: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    sheet: Path | None = None,
) -> dict[str, Any]:
    """Find pictures: like some, there more than once, like no other, or worth a label next.

    PLACE is a run (its own pictures are embedded on first use), a folder or a database that `embed` wrote. A query is
    a file, a row, or the name of a picture in the index; several are searched by their mean. The search is exact, but
    in a database and with `approximate`, which say how much they find.
    """
    from selfsight.report import files
    from selfsight.searching import story
    from selfsight.searching.narrow import Narrow

    for file in (json, csv, sheet):
        files.must_fit(file)
    like, away, labels = map(_several, (query, unlike, label))
    wanted = story.Wanted(like, away, k, Narrow(labels, path), duplicates, outliers, diverse, approximate)
    found = story.search(str(place), wanted, encoder, drawn=sheet is not None)
    story.keep(found, json, csv, sheet)
    return found


def _several(asked: Query | Sequence[Query] | None) -> list[str]:
    """Each as text, whether it is one or several; None is none."""
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        return [] if asked is None else [str(asked)]
    return [str(one) for one in asked]
