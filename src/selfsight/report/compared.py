"""`compare.html`: several methods side by side, the verdict first; written from JSON and pictures only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsight.report.curves import several
from selfsight.report.html import element, safe
from selfsight.report.page import document, replace
from selfsight.report.pieces import card, grid, legend, section, thumbnail
from selfsight.report.scores import named, whiskers
from selfsight.report.words import MEANINGS, NAMES, interval, percent, plain, said

Found = Mapping[str, Any]
Curve = Sequence[tuple[float, float]]

QUESTIONS = ("knn", "linear", "two_views")
BESIDE = ("simple_statistics", "raw_pixels", "bag_of_words", "pretrained")  # whose neighbours are shown, one of them
COLOURS = 8


def write(folder: Path) -> Path:
    """Write `compare.html` beside `compare.json` and return its path."""
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    return replace(folder / "compare.html", page(found, dict(neighbours_in(folder / "measured", found))))


def neighbours_in(folder: Path, found: Found) -> Iterator[tuple[str, list[Any]]]:
    """What each method of seed 0, and what stands beside them, found nearest to the same pictures."""
    for row in found["rows"]:
        name = f"{row['name']}-0" if row["role"] == "method" else row["name"]
        file = folder / f"{name}-neighbours.json"
        if file.is_file():
            yield row["name"], json.loads(file.read_text(encoding="utf-8"))


def page(found: Found, neighbours: Mapping[str, list[Any]]) -> str:
    """The whole page."""
    body = "".join(section(found) for section in SECTIONS) + beside(found, neighbours) + notes(found)
    footer = "Written by Selfsight from compare.json. This page loads nothing and runs no script."
    return document(Path(found["out"]).name, "Selfsight comparison", body, footer)


def verdict(found: Found) -> str:
    """Who is better, and whether to train at all."""
    told, paid = [found["verdict"]["sentence"]], (found.get("efficiency") or {}).get("sentence")
    told += [f"Train without labels at all? {paid}"] if paid else []
    told += [f"{name} has no result: {why}" for name, why in found["failed"].items()]
    return "".join(element("p", safe(words), names="verdict") for words in told if words)


def facts(found: Found) -> str:
    """What was equal for all."""
    asked, task = found["asked"], found["task"] or {}
    told = {found["kind"]: found["pictures"], "each method": asked["length"], "seeds": asked["seeds"]}
    told |= {"encoder": asked["encoder"], "size": asked["size"]}
    told |= {name: task[name] for name in ("train", "test", "classes") if name in task}
    cells = [element("div", element("dt", safe(key)) + element("dd", safe(value))) for key, value in told.items()]
    return element("dl", "".join(cells), names="facts")


def numbers(found: Found) -> str:
    """Scores as a picture, then the table."""
    rows = {label(row): {one: row[one] for one in QUESTIONS if one in row} for row in found["rows"]}
    drawn = ["knn", "linear"] if found["task"] else ["two_views"]
    figure = (legend([named(one) for one in drawn]) if len(drawn) > 1 else "") + whiskers(rows, drawn)
    heads, lines = table(found)
    cells = [
        "".join(element("td", _cell(cell), names="" if place == 0 else "number") for place, cell in enumerate(line))
        for line in lines
    ]
    body = [
        element("tr", line, names="own" if row["role"] == "method" else "")
        for line, row in zip(cells, found["rows"], strict=True)
    ]
    words = "On the test part, 95 % intervals; with several seeds their mean. A bar that overlaps another says little: "
    words += "the verdict compares the same pictures one by one."
    return section("Numbers", said(words, found["kind"]), card(figure) + "<br>" + card(grid(heads, body)))


def _cell(cell: tuple[str, str]) -> str:
    return safe(cell[0]) + (f"<small>{safe(cell[1])}</small>" if cell[1] else "")


def table(found: Found) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Heads, and for each row its cells: a text and a smaller one. For the page and the terminal."""
    asked = [one for one in QUESTIONS if any(one in row for row in found["rows"])]
    free = [
        name
        for name in ("rankme", "uniformity", "alignment", "std")
        if any(name in row["label_free"] for row in found["rows"])
    ]
    heads = ["", *(named(one) for one in asked), "seconds", "pictures seen", *(NAMES.get(name, name) for name in free)]
    return [said(head, found["kind"]) for head in heads], [
        [
            (label(row), row.get("note") or MEANINGS.get(row["name"], "")),
            *(_score(row.get(one)) for one in asked),
            (f"{row['seconds']:,.0f}" if "seconds" in row else "", ""),
            (f"{row['pictures_seen']:,}" if "pictures_seen" in row else "", ""),
            *((plain(row["label_free"].get(name, "")), "") for name in free),
        ]
        for row in found["rows"]
    ]


def label(row: Found) -> str:
    """What a row is called; untrained networks may be several."""
    return f"untrained {row['encoder']}" if row["name"] == "untrained" else called(row["name"])


def called(name: str) -> str:
    """What a row is called by its name alone."""
    return str({"supervised": "from scratch, with labels"}.get(name) or NAMES.get(name, name))


def _score(score: Found | None) -> tuple[str, str]:
    return (percent(score["accuracy"]), interval(score.get("interval"))) if score else ("", "")


def curves(found: Found) -> str:
    """Quality against time, every run; runs of one method share a colour."""
    lines = [
        (f"{name}, seed {seed}", colour(place), curve)
        for place, (name, every) in enumerate(found["curves"].items())
        for seed, curve in enumerate(every)
    ]
    drawing = several(lines, title="Quality against time", x="seconds")
    words = "What the monitor saw while training: nearest neighbours among training pictures"
    words += "" if found["task"] else ", or how often another view was found, as there are no labels"
    words += ". A sign of progress, no test score."
    body = card(colours(list(found["curves"])) + drawing, "card wide")
    return section("Quality against time", said(words, found["kind"]), body) if drawing else ""


def efficiency(found: Found) -> str:
    """Accuracy by number of labels."""
    told = found.get("efficiency")
    if not told:
        return ""
    places = {budget["name"]: place for place, budget in enumerate(told["budgets"])}
    marks = [(float(place), f"{budget['labels']:,}") for place, budget in enumerate(told["budgets"])]
    lines = [
        (
            called(name),
            colour(number),
            [(float(places[one["budget"]]), one["accuracy"]) for one in line],
        )
        for number, (name, line) in enumerate(told["rows"].items())
    ]
    drawing = several(lines, title="Accuracy by number of labels", x="labels", marks=marks)
    heads = ["", *(f"{budget['labels']:,} labels ({budget['name']})" for budget in told["budgets"])]
    rows = []
    for name, line in told["rows"].items():
        scores = {one["budget"]: one for one in line}
        cells = element("td", safe(called(name)))
        cells += "".join(element("td", _cell(_score(scores.get(budget))), names="number") for budget in places)
        rows.append(element("tr", cells))
    words = (
        "A linear classifier on frozen features, beside the same network trained from scratch on the same labels, "
        "within the same budget and at most 200 times over them. Few labels are drawn up to three times, the same for "
        "all; the intervals are of the test pictures, given these labels."
    )
    names = [line[0] for line in lines]
    return section(
        "Is it worth training without labels?",
        words,
        card(colours(names) + drawing, "card wide") + "<br>" + card(grid(heads, rows)),
    )


def differences(found: Found) -> str:
    """Every comparison that was made, with its simultaneous interval."""
    rows = []
    for gap in found["comparisons"]:
        size = f"{100 * gap['difference']:+.1f}<small>{safe(_points(gap['interval']))}</small>"
        cells = element("td", safe(_side(gap["first"]))) + element("td", safe(_side(gap["second"])))
        cells += element("td", size, names="number") + element("td", "yes" if gap["shown"] else "no")
        rows.append(element("tr", cells, names="own" if gap["shown"] else ""))
    heads = ["", "against", "difference, points", "shown"]
    body = element("details", element("summary", f"All {len(rows)} comparisons") + card(grid(heads, rows)))
    return section("Differences", "The intervals hold all at once: they are wider than those of one comparison.", body)


def _side(name: str) -> str:
    first, _, rest = name.partition("/")
    if not rest:
        return called(name)
    return f"{rest}, untrained" if first == "untrained" else f"{rest}, {named(first)}"


def _points(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}"


def trust(found: Found) -> str:
    """How scores that need no labels order the methods, and how far that is as their quality does."""
    rows = []
    for name, order in found["free_order"].items():
        one = found["trust"].get(name) or {}
        value = "too few runs to say" if one.get("spearman") is None else f"{one['spearman']:+.2f}"
        bounds = "<small>{:+.2f} to {:+.2f}</small>".format(*one["interval"]) if one.get("interval") else ""
        cells = element("td", safe(said(NAMES.get(name, name), found["kind"]))) + element("td", safe(", ".join(order)))
        rows.append(element("tr", cells + element("td", safe(value) + bounds, names="number")))
    words = (
        "How they order the methods, the best first, and whether the runs are ranked as by quality: 1 the same order, "
    )
    words += "-1 the opposite. Across methods such scores are known to err."
    heads = ["score", "order of the methods", "rank agreement over runs"]
    return section("Scores that need no labels", words, card(grid(heads, rows))) if rows else ""


def beside(found: Found, neighbours: Mapping[str, list[Any]]) -> str:
    """The same questions asked of each method."""
    names = [row["name"] for row in found["rows"] if row["role"] == "method" and row["name"] in neighbours]
    names += [name for name in BESIDE if name in neighbours][:1]
    if not names:
        return ""
    blocks = []
    for place, question in enumerate(neighbours[names[0]]):
        lines = [element("div", "<b>the picture</b>" + thumbnail(question["query"], "", ""), names="row")]
        for name in names:
            hits = neighbours[name][place]
            figures = "".join(thumbnail(hit, _same(hit, hits["query"]), "") for hit in hits["found"])
            lines.append(element("div", element("b", safe(called(name))) + figures, names="row"))
        blocks.append(element("div", "".join(lines), names="sides"))
    words = said("The same pictures, and what each holds nearest to them.", found["kind"])
    key = legend(["the same label", "another label"]) if found["task"] else ""
    return section("Nearest neighbours, side by side", words, element("div", key + "".join(blocks), names="card"))


def _same(hit: Found, query: Found) -> str:
    if hit.get("label") is None or query.get("label") is None:
        return ""
    return "same" if hit["label"] == query["label"] else "other"


def notes(found: Found) -> str:
    """What to know before relying on it."""
    return "".join(element("p", safe(note), names="note") for note in found["notes"])


def colours(names: Sequence[str]) -> str:
    """Which colour is whose."""
    parts = (f'<span><i class="c{colour(place)}"></i>{safe(name)}</span>' for place, name in enumerate(names))
    return element("div", "".join(parts), names="key")


def colour(place: int) -> int:
    """Of the palette; after eight they come again."""
    return 1 + place % COLOURS


SECTIONS: tuple[Callable[[Found], str], ...] = (verdict, facts, numbers, curves, efficiency, trust, differences)
