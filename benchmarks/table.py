"""The figures in the docs, generated from benchmarks/results/*.json: only what was measured stands there.

python benchmarks/table.py            write the pages' tables anew
python benchmarks/table.py --check    exit 1 when a page is not what the results say
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import attribution
import beside_lightly
import browse
import cards
import collapse
import compare
import compiled
import cookbook
import dcl
import defaults
import documents
import embed
import end_to_end
import evaluation
import gradcache
import in_turns
import interval_coverage
import killsweep
import large_pictures
import layers
import listing
import machine
import neighbours
import nt_xent
import onnx_runtime
import postgres
import quality
import ranks
import search
import serve
import soak
import start_up
import stops
import supcon
import time_to_quality
import vdvs
import view_search
import whitening

RESULTS = Path(__file__).with_name("results")
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "benchmarks.md", DOCS / "which-method.md", DOCS / "guard.md", DOCS / "views.md", DOCS / "cookbook.md")
PLACE = re.compile(r"(<!-- figures of (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def views(results: dict[str, Any]) -> str:
    """The figures of views.py, which has a table of its own for the terminal, as Markdown."""
    head = ("view from picture", "selfsight, ms", "lightly, ms", "times", "lightly, pictures only, ms", "times")
    lines = [f"| {' | '.join((*head, 'difference, mean (worst)'))} |", "|---|---|---|---|---|---|---|"]
    for name, row in results["views"].items():
        lines.append(
            f"| {name} px | {row['selfsight_ms']:.3f} | {row['lightly_ms']:.3f} | {row['ratio_lightly']:.1f} | "
            f"{row['pictures_only_ms']:.3f} | {row['ratio_pictures_only']:.1f} | "
            f"{row['difference_mean']:.2f} ({row['difference_worst']:.2f}) |"
        )
    return "\n".join(lines)


TABLES = {
    "whitening": whitening.table,
    "end_to_end": end_to_end.table,
    "in_turns": in_turns.table,
    "attribution": attribution.table,
    "large_pictures": large_pictures.table,
    "layers": layers.table,
    "compiled": compiled.table,
    "embed": embed.table,
    "evaluation": evaluation.table,
    "killsweep": killsweep.summary,
    "listing": listing.table,
    "browse": browse.table,
    "cards": cards.table,
    "interval_coverage": interval_coverage.table,
    "gradcache": gradcache.table,
    "neighbours": neighbours.table,
    "nt_xent": nt_xent.table,
    "time_to_quality": time_to_quality.table,
    "onnx_runtime": onnx_runtime.table,
    "collapse": collapse.table,
    "compare": compare.table,
    "postgres": postgres.table,
    "quality": quality.table,
    "ranks": ranks.table,
    "search": search.table,
    "serve": serve.table,
    "soak": soak.table,
    "stops": stops.table,
    "start_up": start_up.table,
    "documents": documents.table,
    "vdvs": vdvs.table,
    "view_search": view_search.table,
    "supcon": supcon.table,
    "beside_lightly": beside_lightly.table,
    "dcl": dcl.table,
    "defaults": defaults.table,
    "views": views,
    "cookbook_worth": cookbook.worth,
    "cookbook_few": cookbook.few,
    "cookbook_seen": cookbook.seen,
}
REST = "rest"
FILES = {"cookbook_worth": "quality", "cookbook_few": "quality", "cookbook_seen": "end_to_end"}  # whose figures


def kept(name: str) -> Path:
    """The file of a benchmark's results."""
    return RESULTS / f"{FILES.get(name, name)}.json"


def figures(name: str) -> str:
    """One benchmark's table and what it was measured on; a sentence where nothing was measured yet."""
    if name == REST:
        return rest()
    if not kept(name).exists():
        return "Not measured yet.\n"
    results = json.loads(kept(name).read_text(encoding="utf-8"))
    return f"{TABLES[name](results)}\n\n{machine.measured_on(results)}\n"


def rest() -> str:
    """What was measured and has no place on a page, and a line for each benchmark that was not run."""
    placed = {found[2] for page in PAGES for found in PLACE.finditer(page.read_text(encoding="utf-8"))}
    asked = {
        name: str(importlib.import_module(name).__doc__).partition("\n")[0] for name in TABLES if name not in FILES
    }
    shown = [f"### {asks}\n\n{figures(one)}" for one, asks in asked.items() if one not in placed and kept(one).exists()]
    missing = [f"* `benchmarks/{one}.py`: {asks}\n" for one, asks in asked.items() if not kept(one).exists()]
    return "\n".join([*shown, "".join(missing)])


def filled(page: str) -> str:
    """The page with its tables as the results say."""
    return PLACE.sub(lambda found: f"{found[1]}\n{figures(found[2])}\n{found[3]}", page)


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    asked = parser.parse_args()
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    if asked.check:
        stale = [page.name for page, text in texts.items() if filled(text) != text]
        sys.exit(f"{', '.join(stale)}: stale, run benchmarks/table.py" if stale else 0)
    for page, text in texts.items():
        page.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
