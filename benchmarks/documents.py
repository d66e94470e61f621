"""What does `context` learn from documents, beside word frequencies and a bag of words?

    python benchmarks/documents.py --data DIR [--lengths 2m] [--seeds 0 1 2]
    python benchmarks/documents.py --table

The documents are those that every machine with Python has: the docstrings of its standard library, of 20 words or more,
without those of tests. What a docstring is of, a package such as `email`, is the label where a package has 60 of them
in three files or more; the others are unlabelled. Docstrings of one file stay together, in training or in the test.
Perplexity is that of the next word in test documents, kNN and linear probe name the packages. DIR is where documents
and runs are put. A row that is in the result file is not made again.
"""

from __future__ import annotations

import ast
import csv
import platform
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import cards
import machine
import quality

RESULTS = Path(__file__).with_name("results") / "documents.json"
WORDS, LEAST, FILES = 20, 60, 3  # of a document; documents and files of a package that is a label
ROWS = ("encoder", "untrained", "bag_of_words")


def docstrings() -> Iterator[tuple[str, str, str]]:
    """(package, file, docstring) of the standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        if {"test", "tests", "idle_test", "site-packages", "dist-packages"} & set(parts):
            continue
        try:
            nodes = list(ast.walk(ast.parse(file.read_bytes())))
        except SyntaxError:  # files that are made to be broken
            continue
        for node in nodes:
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                told = ast.get_docstring(node) or ""
                if len(told.split()) >= WORDS:
                    yield parts[0], "/".join(parts), told


def written(folder: Path) -> Path:
    """Documents and their table, made once."""
    table = folder / "labels.csv"
    if not table.exists():
        found, files = list(docstrings()), defaultdict[str, set[str]](set)
        count = defaultdict[str, int](int)
        for package, file, _ in found:
            files[package].add(file)
            count[package] += 1
        kept = {package for package in count if count[package] >= LEAST and len(files[package]) >= FILES}
        folder.mkdir(parents=True, exist_ok=True)
        rows = [("path", "label", "group")]
        for number, (package, file, told) in enumerate(found):
            (folder / f"{number:05}.txt").write_text(told, encoding="utf-8")
            rows.append((f"{number:05}.txt", package if package in kept else "", file))
        with open(table, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(rows)
    return table


def row(data: Path, length: str, seed: int) -> dict[str, Any]:
    """One training and one evaluation, each in a process of its own."""
    table, folder = written(data / "docstrings"), data / "runs" / f"documents-{length}-{seed}"
    asked = ["--method", "context", "--for", length, "--seed", str(seed)]
    memory, found, recipe, seconds = cards.ran(table, folder, asked)
    sides = {name: found if name == "encoder" else found["baselines"][name] for name in ROWS}
    named = {name: {"kNN": one["knn"]["accuracy"], "linear": one["linear"]["accuracy"]} for name, one in sides.items()}
    return {
        "documents": recipe.pictures,
        "classes": found["task"]["classes"],
        "python": platform.python_version(),
        "steps": recipe.steps,
        "documents_per_second": round(recipe.steps * recipe.batch / seconds, 1),
        "memory": memory,
        "perplexity": found["perplexity"],
        "verdict": found["verdict"],
        "scores": named,
    }


def table(results: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = []
    for length in dict.fromkeys(one["length"] for one in results["rows"]):
        rows = [one for one in results["rows"] if one["length"] == length]
        first, seeds = rows[0], len(rows)
        known = [one["perplexity"] for one in rows]
        unigram, own = (mean(one[kind] for one in known) for kind in ("unigram", "encoder"))
        ends = [one["ratio"] for one in known if one["ratio"]]
        shown = f", interval {min(low for low, _ in ends):.2f} to {max(high for _, high in ends):.2f}" if ends else ""
        what = f"{first['documents']:,} docstrings of Python {first['python']}, {first['classes']} packages"
        speed, memory = (mean(one[kind] for one in rows) for kind in ("documents_per_second", "memory"))
        told = f"Perplexity of the next word {own:.0f}, of word frequencies alone {unigram:.0f}"
        told += f" (ratio {own / unigram:.2f}{shown}); {speed:.0f} documents/s, {memory / 1e9:.1f} GB at the peak."
        lines += [
            f"**{what}; {length}, {seeds} seed{'s' * (seeds > 1)}**",
            "",
            told,
            "",
            "| | kNN | linear |",
            "|---|---|---|",
        ]
        for name in ROWS:
            cells = [cards.spread([one["scores"][name][kind] for one in rows]) for kind in ("kNN", "linear")]
            lines.append(f"| {'`context`' if name == 'encoder' else name.replace('_', ' ')} | {' | '.join(cells)} |")
        near = sum(bool(one["verdict"]["helped"]) for one in rows)
        probed = sum(bool(one["verdict"]["linear"]["helped"]) for one in rows)
        lines += ["", f"Helped: by kNN with {near}, by the linear probe with {probed} of {seeds}.", ""]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--lengths", nargs="+", default=["2m"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    asked = machine.answered(parser, "data")
    asked.tasks = []  # of pictures
    results = quality.begun(asked)
    keys = ({"length": length, "seed": seed} for seed, length in product(asked.seeds, asked.lengths))
    quality.filled(asked, results, keys, lambda key: [row(asked.data, **key)])
    print(table(results))


if __name__ == "__main__":
    main()
