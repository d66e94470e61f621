"""Results for the terminal: tables on a terminal, plain lines in a file or a pipe. Needs rich and nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfsight.errors import printable, typed
from selfsight.report import closeness, compared, downstream
from selfsight.report.scores import AGREEMENT, agreements, contenders, named, trusted, unlabelled
from selfsight.report.words import NAMES, conclusions, interval, percent, plain, said

Row = Sequence[object]

SPARED = [
    NAMES[score] for score in ("alignment", "uniformity", "std")
]  # columns that the page has and the terminal has no room for
MOST_CLASSES = 20  # that are counted one by one


def show(command: str, result: Any) -> None:
    """Print what a command returned; a path or a sentence is printed as it is."""
    SHOWN.get(command, _line)(result)


def heading(title: str, command: str) -> None:
    """A step of the tour: what it is, and the command that does it."""
    _line("")
    _line(title)
    _line(f"$ {command}")


def plan(rows: Iterable[tuple[str, object, str]]) -> None:
    """The plan of a run: every value that was chosen, with its reason."""
    _table(["setting", "value", "because"], list(rows))


def evaluation(numbers: Mapping[str, Any]) -> None:
    """Scores with their 95 % intervals beside the baselines, label-free numbers, and the verdict."""
    scored = contenders(numbers)
    tasks = list(dict.fromkeys(task for scores in scored.values() for task in scores))
    if tasks:
        rows = [(NAMES.get(n, n), *(_score(scores.get(task)) for task in tasks)) for n, scores in scored.items()]
        _table(["encoder", *(named(task) for task in tasks)], rows)
    heads, rows = closeness.brief(numbers)
    if rows:
        _table(heads, rows)
    whose, free = unlabelled(numbers)
    if free:
        told = {name: said(NAMES.get(name, name), numbers.get("kind")) for name in free}
        values = [(told[name], *("-" if one is None else plain(one) for one in row)) for name, row in free.items()]
        _table(["without labels", *(NAMES.get(name, name) for name in whose)], values)
    if known := agreements(numbers):
        heads = ["score without labels: ranks this run's looks as labels do?", *AGREEMENT]
        _table(heads, [(NAMES.get(name, name), *row) for name, row in known.items()])
    for part in downstream.parts(numbers):
        _line(part.title)
        cells = [(name, *(" ".join(filter(None, cell)) for cell in row)) for name, row in part.rows]
        _table(part.heads, cells)
        for sentence in part.sentences:
            _line(sentence)
    leaks = (numbers.get("leaks") or {}).get("sentence")
    for note in (
        leaks,
        closeness.weakest(numbers),
        closeness.as_papers(numbers),
        *(numbers.get("notes") or []),
        trusted(numbers),
    ):
        if note:
            _line(note)
    for conclusion, _ in conclusions(numbers.get("verdict")):
        _line(conclusion)


def comparison(found: Mapping[str, Any]) -> None:
    """Every row with intervals, what failed, what to know, the verdict, and where the page is."""
    heads, rows = compared.table(found)
    kept = [place for place, head in enumerate(heads) if place == 0 or head not in SPARED]
    cells = [[" ".join(filter(None, line[place] if place else line[place][:1])) for place in kept] for line in rows]
    _table([heads[place] or "encoder" for place in kept], cells)
    for row in found["rows"]:
        if row.get("note"):
            _line(f"{row['name']} {row['note']}.")
    for name, why in found["failed"].items():
        _line(f"{name} has no result: {why}")
    for note in found["notes"]:
        _line(note)
    _line(found["verdict"]["sentence"])
    if told := (found.get("efficiency") or {}).get("sentence"):
        _line(f"Train without labels at all? {told}")
    _line(f"Open {found['out']}/compare.html; the runs are in {found['out']}/runs.")


def packing(result: Mapping[str, Any]) -> None:
    """How much was packed, and what an earlier start had done."""
    rows: list[Row] = [(name, result[name]) for name in ("pictures", "shards")]
    rows += [("shards that were there", result["kept"])] if result["kept"] else []
    rows += [("megabytes", f"{result['bytes'] / 1e6:.1f}")]
    rows += [("could not be read", result["unreadable"])] if result["unreadable"] else []
    _table(["packed", "count"], rows)
    if left := result.get("left_out"):
        _line(f"Left out, for shards have columns of these names: {', '.join(left)}. Rename them to keep them.")
    _line(f"{result['out']} can now be given as DATA, or be copied to an address that is.")


def classification(result: Mapping[str, Any]) -> None:
    """How many files are of which class, and how far to trust that: accuracy beside baselines, confidence, warnings."""
    count = dict(sorted(dict(result["predicted"]).items(), key=lambda one: -one[1]))
    rows: list[Row] = [(name, number) for name, number in list(count.items())[:MOST_CLASSES]]
    rest = list(count.values())[MOST_CLASSES:]
    rows += [(f"{len(rest)} more classes", sum(rest))] if rest else []
    _table(["class", "pictures"], [*rows, *([("could not be read", n)] if (n := result["unreadable"]) else [])])
    if measured := result.get("held_out"):
        _line(f"Accuracy on {measured['pictures']} held-out pictures, learned from {result['learned_from']}:")
        scored = {"trained": measured, **measured["baselines"], "majority": {"accuracy": measured["majority"]}}
        rows = [(NAMES.get(name, name), _score(one), _gap(one)) for name, one in scored.items()]
        _table(["encoder", "accuracy", "this run is better by"], rows)
        _line(measured["calibration"]["sentence"])
    for note in result.get("notes") or []:
        _line(note)
    which = "used again, for the same labels" if result["reused"] else "fitted now"
    _line(f"The classifier is in {result['classifier']} ({which}).")
    _line(result["out"])


def found(result: Mapping[str, Any]) -> None:
    """What `search` found: the nearest first, or group by group."""
    hits = result["hits"]
    grouped = bool(hits) and "group" in hits[0]
    heads = ["row", "similarity", "label", "picture"]
    rows = [[h["row"], f"{h['similarity']:.3f}", _one_line(h["label"] or ""), _one_line(h["path"])] for h in hits]
    if grouped:
        heads, rows = ["group", *heads, "is"], [[h["group"], *row, h["as"]] for h, row in zip(hits, rows, strict=True)]
    _line(f"{result['asked']}, of {result['pictures']:,} in {result['place']}:")
    if hits:
        _table(heads, rows)
    for note in result["notes"]:
        _line(note)


def _one_line(name: str) -> str:
    return name.replace("\n", "\\n")


def export(found: Mapping[str, Any]) -> None:
    """What was checked, what int8 costs, and where the folder is."""
    for name, what in (("the folder", found), ("model.onnx", found.get("onnx"))):
        if what:
            checked = what["parity"]
            _line(
                f"{name}: on {checked['pictures']} pictures every vector is the encoder's (lowest cosine "
                f"{checked['lowest_cosine']:.6f}) and finds the same pictures nearest."
            )
    if found.get("int8"):
        _line(f"model.int8.onnx: {found['int8']['sentence']}")
    _line(f"The folder is {found['out']}; its README.md is the model card and says how to load it.")


def methods(described: Sequence[Mapping[str, Any]]) -> None:
    """What `selfsight methods` says: {"name", "idea", "story", "settings": [{"name", "type", "default", "note"}]}.

    Several methods are a table; one is told whole, with its settings. A default of None is chosen by the plan.
    """
    if len(described) != 1:
        _table(["method", "idea"], [(one["name"], one["idea"]) for one in described])
        _line("See one with its paper and its settings: selfsight methods NAME")
        return
    one = described[0]
    _line(f"{one['story']}\n")
    rows = [(s["name"], s["type"], _default(s["default"]), s["note"]) for s in one["settings"]]
    _table(["--set", "type", "default", "meaning and source"], rows)


def _default(value: object) -> str:
    return "automatic" if value is None else plain(value)


def findings(result: Any) -> None:
    """What `inspect` found in pictures or in a run, one fact a line, suggestions last."""
    facts = _facts(result)
    suggestions = facts.pop("suggestions", None) or []
    _table(["what", "found"], [(NAMES.get(key, key.replace("_", " ")), _brief(value)) for key, value in facts.items()])
    for suggestion in suggestions:
        _line(f"- {suggestion}")


def _facts(result: Any) -> dict[str, Any]:
    if hasattr(result, "to_dict"):
        return dict(result.to_dict())
    if is_dataclass(result) and not isinstance(result, type):
        return asdict(result)
    return dict(result) if isinstance(result, Mapping) else {"result": str(result)}


def _run(run: Any) -> None:
    """Where a finished run is and what to do with it."""
    folder = getattr(run, "folder", run)
    _line(f"The run is in {folder}: open {folder}/report.html, or go on with `{typed('evaluate', folder)}`.")


def _brief(value: object) -> str:
    """At most five parts of a list or a mapping, and how many more there are."""
    if isinstance(value, Mapping):
        parts = [f"{key}: {plain(part)}" for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [plain(part) for part in value]
    else:
        return plain(value)
    more = [f"... and {len(parts) - 5} more"] if len(parts) > 5 else []
    return ", ".join(parts[:5] + more) or "none"


def _score(score: Mapping[str, Any] | None) -> str:
    return f"{percent(score['accuracy'])}  {interval(score.get('interval'))}".strip() if score else ""


def _gap(score: Mapping[str, Any]) -> str:
    """What this run has more, in points, with its interval."""
    if "difference" not in score:
        return ""
    low, high = score["difference_interval"]
    return f"{100 * score['difference']:+.1f}  {100 * low:+.1f} to {100 * high:+.1f}"


def _line(text: object) -> None:
    # Text, not markup: a picture named "[red]" stays what it is; and no control characters reach the terminal
    _console().print(Text(_safe(text)), soft_wrap=True)


def _table(heads: Sequence[str], rows: Sequence[Row]) -> None:
    console = _console()
    if not console.is_terminal:
        for row in [heads, *rows] if len(heads) > 2 else rows:  # two columns explain themselves
            sys.stdout.write("\t".join(_safe(cell) for cell in row).rstrip() + "\n")
        return
    table = Table(*heads, box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for row in rows:
        table.add_row(*(Text(_safe(cell)) for cell in row))
    console.print(table)
    console.print()


def _safe(value: object) -> str:
    return printable(str(value))


def _console() -> Console:
    return Console(highlight=False)


SHOWN: dict[str, Callable[[Any], None]] = {
    "inspect": findings,
    "train": _run,
    "demo": _run,
    "evaluate": evaluation,
    "compare": comparison,
    "classify": classification,
    "search": found,
    "export": export,
    "pack": packing,
    "methods": methods,
}
