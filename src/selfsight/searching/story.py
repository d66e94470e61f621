"""`selfsight search`: one question to an index, the answer for people and programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from selfsight.embedding.upkeep import is_there
from selfsight.errors import RecipeError, typed
from selfsight.report import files
from selfsight.searching.database import Database, is_address
from selfsight.searching.diverse import diverse
from selfsight.searching.duplicates import duplicates
from selfsight.searching.index import Hits, Index
from selfsight.searching.labels import overlay
from selfsight.searching.narrow import Narrow
from selfsight.searching.outliers import outliers
from selfsight.searching.parts import parts
from selfsight.searching.query import asked
from selfsight.views.sheet import contact_sheet_of

__all__ = ["Wanted", "search"]

HEADS = ("path", "label", "row", "similarity", "duplicates", "group", "split")  # of the CSV, which may be DATA
MANY = 1_000_000  # rows from which on the faster search is mentioned
DRAWN = 96  # pictures on a sheet at most


@dataclass(frozen=True)
class Wanted:
    """One question: pictures like some, or one of the three other kinds."""

    like: Sequence[str] = ()
    unlike: Sequence[str] = ()
    k: int = 10
    narrow: Narrow = field(default_factory=Narrow)
    duplicates: bool = False
    outliers: bool = False
    diverse: int | None = None
    approximate: bool = False

    @property
    def of_labels(self) -> bool:
        """Whether the answer rests on labels."""
        return bool(self.narrow.labels) or self.diverse is not None

    def check(self) -> None:
        """RecipeError when it is no question, or two."""
        kinds = [bool(self.like), self.duplicates, self.outliers, self.diverse is not None]
        if sum(kinds) != 1:
            raise RecipeError("ask one thing: a QUERY (a file, a row, a name), --duplicates, --outliers or --diverse N")
        if self.unlike and not self.like:
            raise RecipeError("--unlike needs a QUERY that the pictures are to be like")
        if self.k < 1 or (self.diverse is not None and self.diverse < 1):
            raise RecipeError("-k and --diverse count pictures, from 1 on")


def search(place: str, wanted: Wanted, encoder: Path | None, *, drawn: bool) -> dict[str, Any]:
    """The answer: `hits`, each with row, path, label, file, digest, similarity (and group), and what to say of it."""
    wanted.check()
    index: Index | Database = Database.open(place, encoder) if is_address(place) else Index.open(place, encoder=encoder)
    if drawn and index.facts["kind"] != "pictures":
        raise RecipeError(f"--sheet draws pictures, and {index.where!r} is of {index.facts['kind']}; leave it out")
    if wanted.approximate and isinstance(index, Index):
        index.speed_up()
    notes = _given(index) if isinstance(index, Index) and wanted.of_labels else []
    answers = Hits()
    if not wanted.like:
        answers, more = _told(index if isinstance(index, Index) else index.fetched(), wanted)
        notes += more
    elif len(index):
        query = asked(index, wanted.like, wanted.unlike)
        answers = index.find(query.vector, wanted.k, wanted.narrow, query.own)
    hits, recall = [*answers], answers.recall
    found = {"place": index.where, "run": str(index.eye.folder), "pictures": len(index), "asked": _asked(wanted)}
    return {**found, "hits": hits, "recall": recall, "notes": notes + _notes(index, wanted, hits, recall)}


def _given(index: Index) -> list[str]:
    """Labels that were given on the page count; a note where that makes a difference."""
    changed = overlay(index)
    return [f"Of {changed} pictures the label is that of browse/labels.csv, given on the page."] if changed else []


def _told(index: Index, wanted: Wanted) -> tuple[Hits, list[str]]:
    """The answers to the questions without a query, and notes."""
    rows: Int[np.ndarray, "M"] = np.flatnonzero(wanted.narrow.rows(index.table))
    recall = None if wanted.narrow else index.recall
    if wanted.duplicates:
        groups = duplicates(index, rows)
        return Hits((hit for number, one in enumerate(groups, 1) for hit in _group(index, one, number)), recall), []
    if wanted.outliers:
        return Hits(index.told(*outliers(index, rows, wanted.k)), recall), []
    test = np.array([(part := index.parts[row]) is not None and part.split == "test" for row in rows], bool)
    notes = [f"Of the run's test part, which it is measured on, none is proposed: {test.sum()} left out."]
    return Hits(index.told(*diverse(index, rows[~test], wanted.diverse or 1))), notes if test.any() else []


def _group(index: Index, rows: list[int], number: int) -> list[dict[str, Any]]:
    """A group of duplicates, each with its cosine to the first."""
    vectors = index.unit(np.array(rows))
    digests = index.table["digest"].take(rows).to_pylist()
    same = {True: "the same file", False: "nearly the same"}
    told = index.told(np.array(rows), vectors @ vectors[0])
    kinds = ["", *(same[one in digests[:place]] for place, one in enumerate(digests) if place)]
    return [{**hit, "group": number, "as": kind} for hit, kind in zip(told, kinds, strict=True)]


def _asked(wanted: Wanted) -> str:
    """The question in words."""
    if wanted.duplicates:
        return "pictures that are there more than once"
    if wanted.outliers:
        return "pictures that are least like their ten nearest"
    if wanted.diverse:
        return "pictures to label next, each unlike those before it"
    unlike = f", less like {', '.join(wanted.unlike)}" if wanted.unlike else ""
    return f"pictures like {', '.join(wanted.like)}{unlike}"


def _notes(index: Index | Database, wanted: Wanted, hits: list[dict[str, Any]], recall: float | None) -> list[str]:
    notes = [] if len(index) else ["The index holds no picture."]
    if not hits and len(index):
        left = "that the filter leaves " if wanted.narrow else ""
        notes.append(f"No picture {left}is an answer.")
    if recall is not None:
        notes.append(f"Not every row was looked at: recall@10 {recall:.3f} against the exact search.")
    elif wanted.approximate:
        notes.append("Every row was looked at: with so few, or with a filter, that is fast enough.")
    elif isinstance(index, Index) and len(index) >= MANY:
        notes.append("--approximate looks at a part of the rows only, and says how much that finds.")
    gone = sum(not is_there(hit["file"]) for hit in hits)
    if gone:
        place = ("--out", index.folder) if isinstance(index, Index) else ("--to", "ADDRESS")
        prune = typed("embed", index.eye.folder, "--prune", *place)
        notes.append(f"{gone} of these files are gone; `{prune}` takes them out of the index.")
    return notes


def keep(found: dict[str, Any], json_file: Path | None, csv_file: Path | None, sheet: Path | None) -> None:
    """Write the answer where asked. DiskError when it cannot be written."""
    if json_file is not None:
        files.write(json_file, json.dumps(found, indent=1).encode())
    if csv_file is not None:
        files.write(csv_file, _table(found).encode("utf-8", "surrogateescape"))  # bytes of names as they are
    if sheet is not None:
        hits = found["hits"][:DRAWN]
        captions = [f"{hit['row']}: {hit['similarity']:.3f}" for hit in hits]  # more would not fit
        with files.room(sheet):
            contact_sheet_of([hit["file"] for hit in hits], captions, sheet, DRAWN)


def _table(found: Mapping[str, Any]) -> str:
    """The answer as DATA: groups, and the test part, are those of the run."""
    hits = found["hits"]
    known = parts(Path(found["run"]), [hit["file"] for hit in hits], [hit["digest"] for hit in hits])
    rows = [
        (hit["file"], hit["label"] or "", hit["row"], hit["similarity"], hit.get("group", ""), *(part or ("", "")))
        for hit, part in zip(hits, known, strict=True)
    ]
    width = len(HEADS) if any(known) else len(HEADS) - 1  # an empty `split` would say that all of them train
    text = io.StringIO(newline="")
    csv.writer(text).writerows(row[:width] for row in (HEADS, *rows))
    return text.getvalue()
