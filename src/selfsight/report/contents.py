"""What a run's folder holds for a reader: JSON, YAML, CSV and pictures; no network is opened, nothing is computed.

`neighbours.json`, which the evaluation writes, is a list of questions with what the encoder found nearest:

    [{"query": {"name": "cup.jpg", "label": "cup", "image": "<base64 of a PNG or JPEG>"},
      "found": [{"name": "mug.jpg", "label": "cup", "score": 0.93, "image": "..."}, ...]}, ...]

`hard.json` and `leaks.json`, which are optional, have the same form. A query of the former also has what it was "said"
to be with which "confidence" (a share); what was found in the latter has how much is the same, "as".

`label` may be null; a document has its beginning, `text`, in place of `image`. Everything in these files came from
somebody's disk: the page escapes all of it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from selfsight.errors import RunError, brief

Entry = dict[str, Any]
_LINE = re.compile(
    r"""^(?P<indent>\s*)(?P<key>[\w-]+):            # a key of a block mapping
        (?:\s+(?P<value>"[^"]*"|'[^']*'|[^\s\#].*?))?  # its value, quoted or bare
        (?:\s+\#\s*(?P<reason>.*))?$                # the reason, written as a comment""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Contents:
    """A run as the page shows it. What is not in the folder is empty."""

    name: str
    kind: str = "pictures"  # of sample
    recipe: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, reason
    metrics: list[Entry] = field(default_factory=list)
    timing: list[Entry] = field(default_factory=list)
    evaluation: Entry = field(default_factory=dict)
    neighbours: list[Entry] = field(default_factory=list)
    hard: list[Entry] = field(default_factory=list)
    leaks: list[Entry] = field(default_factory=list)
    neighbours_sheet: bytes = b""  # PNG, where there is no neighbours.json
    views: bytes = b""  # PNG
    outputs: bytes = b""  # PNG, of methods that make pictures
    bad_files: list[tuple[str, str]] = field(default_factory=list)  # path, reason: at most 100


def read(folder: Path) -> Contents:
    """The contents of a run's folder; RunError when it is none."""
    if not (folder / "recipe.yaml").is_file():
        raise RunError(f"{str(folder)!r} is not a run: it has no recipe.yaml. Give the folder that `train` wrote.")
    return Contents(
        name=folder.resolve().name,
        kind=_json(folder / "untrained" / "preprocess.json", {}).get("kind", "pictures"),
        recipe=list(_recipe((folder / "recipe.yaml").read_text(encoding="utf-8"))),
        metrics=_lines(folder / "metrics.jsonl"),
        timing=_lines(folder / "timing.jsonl"),
        evaluation=_json(folder / "evaluation.json", {}),
        neighbours=_json(folder / "neighbours.json", []),
        hard=_json(folder / "hard.json", []),
        leaks=_json(folder / "leaks.json", []),
        neighbours_sheet=_bytes(folder / "neighbours.png"),
        views=_bytes(folder / "views.png"),
        outputs=_bytes(folder / "outputs.png"),
        bad_files=_bad_files(folder / "bad_files.csv"),
    )


def _recipe(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and reason of every line; a nested name is written outer.inner, a list is one entry a line."""
    outer: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            if outer and line.lstrip().startswith("- "):
                yield ".".join(part for _, part in outer), _bare(line.lstrip("- ")), ""
            continue
        indent = len(match["indent"])
        outer = [(depth, name) for depth, name in outer if depth < indent]
        name = ".".join([*(part for _, part in outer), match["key"]])
        if match["value"] is None:
            outer.append((indent, match["key"]))
        if match["value"] or match["reason"]:
            yield name, _bare(match["value"] or ""), match["reason"] or ""


def _bare(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] in "\"'" and value[0] == value[-1] else value


def _lines(path: Path) -> list[Entry]:
    """One JSON object a line; a last line that a kill tore is left out."""
    entries = []
    for line in _bytes(path).decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def _json(path: Path, empty: Any) -> Any:
    try:
        return json.loads(_bytes(path).decode("utf-8") or "null") or empty
    except ValueError as error:
        raise RunError(f"{str(path)!r} is not readable JSON ({brief(error)}). Delete it and evaluate again.") from error


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _bad_files(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return [(row.get("path") or "", row.get("reason") or "") for row in islice(csv.DictReader(stream), 100)]
