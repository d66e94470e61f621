"""The parts of the page, each from a run's contents to HTML; nothing to show is an empty string."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from selfsight.report import closeness, downstream
from selfsight.report.contents import Contents, Entry
from selfsight.report.curves import chart
from selfsight.report.html import element, safe
from selfsight.report.parts import Part
from selfsight.report.pieces import card, grid, image, legend, section, thumbnail
from selfsight.report.scores import AGREEMENT, agreements, contenders, named, trusted, unlabelled, whiskers
from selfsight.report.words import MEANINGS, NAMES, conclusions, interval, percent, plain, said

CURVES = (  # key in metrics.jsonl, title, what it says
    ("loss", "Loss", "what training makes smaller"),
    ("quality", "Quality", "nearest neighbours among training pictures: a sign of progress, no test score"),
    ("rankme", "Effective rank", "how many directions the embedding uses"),
    ("mean_cos", "Mean cosine", "near 1, all pictures look the same to the encoder"),
    ("lidar_32", "LiDAR", "how many of 32 directions tell pictures apart better than views of one"),
    ("sign.directions", "Directions", "effective rank about the mean, as the guard sees it; a fall is a collapse"),
)
MOST = 100  # warnings that are shown


def verdict(run: Contents) -> str:
    """The conclusion, in words; without an evaluation, how to get one."""
    unknown = "Not evaluated yet: run selfsight evaluate on this folder to see how good the encoder is."
    said = conclusions(run.evaluation.get("verdict")) or [(unknown, False)]
    return "".join(element("p", safe(words), names="verdict helped" if helped else "verdict") for words, helped in said)


def warnings(run: Contents) -> str:
    """What was said of the pictures, of the disk and checkpoints, by the guard, and steps that were left out."""
    said = [line for line in [*run.metrics, *run.timing] if "sentence" in line]
    rows = [(line["step"], str(line["sentence"])) for line in said]
    rows += [
        (line["step"], f"{line.get('tensor', 'the loss')} was not finite; the step changed nothing")
        for line in run.metrics
        if line.get("skipped")
    ]
    if not rows:
        return ""
    body = [element("tr", f"<td>{safe(str(step))}</td><td>{safe(words)}</td>") for step, words in sorted(rows)[:MOST]]
    words = "What was found before training (step 0) and in it, at the step where it was seen."
    return section("Warnings", words, card(grid(["step", "what, and a remedy"], body)))


def facts(run: Contents) -> str:
    """The handful of values that people ask for first."""
    recipe = {name: value for name, value, _ in run.recipe}
    first = ("method", "encoder", "size", "batch", "pictures")
    shown: list[tuple[str, str]] = [(said(name, run.kind), recipe[name]) for name in first if name in recipe]
    if run.metrics:
        last = run.metrics[-1]
        shown += [(name, plain(last[name])) for name in ("epoch", "step") if name in last]
    kept = [line["step"] for line in run.metrics if line.get("kept")]
    shown += [("encoder of step", plain(kept[-1]))] if kept else []
    rates = sorted(float(entry["images_per_second"]) for entry in run.timing if entry.get("images_per_second"))
    if rates:
        shown.append((f"{run.kind}/s", f"{rates[len(rates) // 2]:.0f}"))
    cells = [element("div", element("dt", safe(name)) + element("dd", safe(value))) for name, value in shown]
    return element("dl", "".join(cells), names="facts") if cells else ""


def numbers(run: Contents) -> str:
    """Every score with its interval, and every baseline's: a chart, then the table."""
    scored = {name: scores for name, scores in contenders(run.evaluation).items() if scores}
    if not scored:
        return _label_free(run)
    tasks = list(dict.fromkeys(task for scores in scored.values() for task in scores))
    drawn = tasks[:2]
    rows = [_score_row(name, scores, tasks) for name, scores in scored.items()]
    heads = ["", *(named(task) for task in tasks)]
    figure = legend([named(task) for task in drawn]) + whiskers(scored, drawn)
    table = grid(heads, rows)
    unseen = (run.evaluation.get("about") or {}).get("unseen", True)
    part = "the test part" if unseen else "pictures that are not all held out (see the notes)"
    words = f"Accuracy on {part}, with 95 % intervals, beside what was not trained here."
    leaked = (run.evaluation.get("leaks") or {}).get("sentence")
    told = [*([leaked] if leaked else []), *(run.evaluation.get("notes") or [])]
    notes = "".join(element("p", safe(note), names="note") for note in told)
    return section("Numbers", words, card(figure) + "<br>" + card(table) + notes) + _label_free(run)


def _score_row(name: str, scores: Mapping[str, Any], tasks: Sequence[str]) -> str:
    meaning = element("div", safe(MEANINGS.get(name, "")))
    cells = element("td", safe(NAMES.get(name, name)) + meaning)
    for task in tasks:
        score = scores.get(task)
        text = (
            safe(percent(score["accuracy"])) + f"<small>{safe(interval(score.get('interval')))}</small>"
            if score
            else ""
        )
        cells += element("td", text, names="number")
    return element("tr", cells, names="own" if name == "trained" else "")


def closer(run: Contents) -> str:
    """Retrieval, clustering and the weakest classes."""
    return "".join(_part(part, run.kind) for part in closeness.parts(run.evaluation))


def further(run: Contents) -> str:
    """What was measured because it was asked for."""
    return "".join(_part(part, run.kind) for part in downstream.parts(run.evaluation))


def _part(part: Part, kind: str | None) -> str:
    """A table, and what it says."""
    rows = [
        element("tr", element("td", safe(name)) + "".join(map(_two_sizes, cells)), names="own" if own else "")
        for own, (name, cells) in zip([part.own, *[False] * len(part.rows)], part.rows, strict=False)
    ]
    notes = "".join(element("p", safe(said(sentence, kind)), names="note") for sentence in part.sentences)
    return section(part.title, said(part.words, kind), card(grid(part.heads, rows)) + notes)


def _two_sizes(cell: tuple[str, str]) -> str:
    large, small = cell
    return element("td", safe(large) + (f"<small>{safe(small)}</small>" if small else ""), names="number")


def hard(run: Contents) -> str:
    """Test pictures that are named wrongly for sure, and the training pictures that misled."""
    words = "On the left test pictures whose nearest training pictures, beside them, most clearly say the wrong thing."
    rows = [element("div", _neighbour_row(row), names="row") for row in run.hard]
    body = legend(["the same label", "another label"]) + "".join(rows)
    return section("Hard cases", said(words, run.kind), card(body)) if rows else ""


def leaks(run: Contents) -> str:
    """Test pictures that the training part gives away."""
    words = "On the left test pictures, beside each the training picture that is the same or nearly so."
    rows = [element("div", _neighbour_row(row), names="row") for row in run.leaks]
    return section("Leaks", said(words, run.kind), card("".join(rows))) if rows else ""


def _label_free(run: Contents) -> str:
    whose, values = unlabelled(run.evaluation)
    if not values:
        return ""
    rows = []
    for name, row in values.items():
        told = element("td", safe(said(NAMES.get(name, name), run.kind)))
        cells = "".join(element("td", safe("-" if one is None else plain(one)), names="number") for one in row)
        rows.append(element("tr", told + cells))
    words = "What can be said without labels: how much of its space an embedding uses, and how it is spread."
    table = card(grid(["", *(NAMES.get(name, name) for name in whose)], rows))
    return section("Without labels", words, table + _trust(run))


def _trust(run: Contents) -> str:
    """How far to trust these, where labels say."""
    known = [
        element("tr", f"<td>{safe(NAMES.get(name, name))}</td>" + "".join(element("td", safe(v)) for v in row))
        for name, row in agreements(run.evaluation).items()
    ]
    heads = ["ranks the looks of this run as labels do?", *AGREEMENT]
    sentence = trusted(run.evaluation)
    words = element("p", safe(sentence), names="note") if sentence else ""
    return ("<br>" + card(grid(heads, known)) if known else "") + words


def curves(run: Contents) -> str:
    """Loss, quality and rank over the steps."""
    figures = []
    for colour, (key, title, words) in enumerate(CURVES):
        told = [(e.get("step"), e.get(key)) for e in run.metrics]
        points = [(float(step), float(value)) for step, value in told if _is_number(step) and _is_number(value)]
        first = (points[0][1], "before training") if key == "quality" and points and points[0][0] == 0 else None
        drawing = chart(points, title=title, x="step", colour=1 + colour % 3, reference=first)
        if drawing:
            caption = element("figcaption", f"{safe(title)} <span>{safe(said(words, run.kind))}</span>")
            figures.append(element("figure", caption + drawing, names="card"))
    if not figures:
        return ""
    words = said("What was measured while training; quality and rank look at training pictures only.", run.kind)
    return section("Training", words, element("div", "".join(figures), names="curves"))


def views(run: Contents) -> str:
    """Originals beside what the network saw."""
    words = "Some pictures as they are, and beside them what the network was shown."
    return section("Views", words, element("div", image(run.views, "views"), names="card views")) if run.views else ""


def outputs(run: Contents) -> str:
    """Originals beside what the trained network made of them."""
    words = "Some training pictures, and what the trained network makes of them."
    body = element("div", image(run.outputs, "outputs"), names="card views")
    return section("Made by the network", words, body) if run.outputs else ""


def neighbours(run: Contents) -> str:
    """Questions and what the encoder found nearest to them."""
    words = "On the left a picture, then those that the encoder holds nearest to it. The number is their cosine."
    words = said(words, run.kind)
    if run.neighbours:
        rows = [element("div", _neighbour_row(row), names="row") for row in run.neighbours]
        if any((row.get("query") or {}).get("label") is not None for row in run.neighbours):
            rows.insert(0, legend(["the same label", "another label"]))
        return section("Nearest neighbours", words, card("".join(rows)))
    sheet = run.neighbours_sheet
    return section("Nearest neighbours", words, card(image(sheet, "neighbours"), "card views")) if sheet else ""


def _neighbour_row(row: Entry) -> str:
    query = row.get("query") or {}
    figures = [thumbnail(query, "", "")]
    for found in row.get("found") or []:
        known = query.get("label") is not None and found.get("label") is not None
        names = ("same" if found["label"] == query["label"] else "other") if known else ""
        figures.append(thumbnail(found, names, f"{found['score']:.2f}" if _is_number(found.get("score")) else ""))
    return "".join(figures)


def recipe(run: Contents) -> str:
    """Everything that defines the run, and why each automatic value is what it is."""
    rows = [
        element(
            "tr", f"<td>{safe(name)}</td><td><code>{safe(value)}</code></td>" + element("td", safe(why), names="why")
        )
        for name, value, why in run.recipe
    ]
    words = said("The same recipe on the same pictures gives the same weights. It is kept in recipe.yaml.", run.kind)
    return section("Recipe", words, card(grid(["entry", "value", "because"], rows))) if rows else ""


def bad_files(run: Contents) -> str:
    """Files that could not be read."""
    rows = [element("tr", f"<td><bdi>{safe(path)}</bdi></td><td>{safe(why)}</td>") for path, why in run.bad_files]
    words = said("These could not be decoded and were replaced by other pictures; bad_files.csv lists all.", run.kind)
    return section("Files that could not be read", words, card(grid(["file", "reason"], rows))) if rows else ""


SECTIONS: tuple[Callable[[Contents], str], ...] = (
    verdict, warnings, facts, numbers, further, closer, leaks, hard, curves, views, outputs, neighbours, recipe,
    bad_files,
)  # fmt: skip


def _is_number(value: object) -> TypeGuard[float]:
    """One that can be drawn: integers have no end."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53
    return whole or isinstance(value, float)
