"""The page of a comparison: the verdict first, everything escaped, nothing loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_page import EVIL, Page

from selfsight.report import compared

ENDS = {"interval": [0.4, 0.6], "accuracy": 0.5}


def row(name: str, role: str, **more: Any) -> dict[str, Any]:
    scores = {"knn": ENDS, "linear": ENDS, "two_views": ENDS, "label_free": {"rankme": 12.3, "std": 0.9}}
    return {"name": name, "role": role, "seeds": 1, **scores, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison whose every name is an attack."""
    methods = [f"{EVIL}{number}" for number in range(10)]
    told = {"encoder": EVIL, "seconds": 12.0, "pictures_seen": 1280}
    rows = [row(name, "method", note=EVIL, **told) for name in methods]
    rows += [row("untrained", "baseline", encoder=EVIL), row("simple_statistics", "baseline")]
    rows.append({"name": "supervised", "role": "supervised", "linear": ENDS, "label_free": {}, "seeds": 1, **told})
    budgets = [{"name": "1 a class", "labels": 9}, {"name": "100%", "labels": 2000}]
    scores = [{"budget": one["name"], **ENDS} for one in budgets]
    gap = {"first": methods[0], "second": "untrained/x", "difference": 0.1, "interval": [0, 1], "shown": True}
    found = {
        "asked": {"length": "10m", "seeds": 1, "encoder": EVIL, "size": 32},
        "kind": "pictures",
        "pictures": 100,
        "task": {"train": 80, "test": 20, "classes": 3},
        "rows": rows,
        "failed": {EVIL: EVIL},
        "comparisons": [gap],
        "verdict": {"sentence": f"The verdict. {EVIL}"},
        "efficiency": {"budgets": budgets, "rows": {methods[0]: scores, "supervised": scores}, "sentence": "Yes."},
        "free_order": {"rankme": methods},
        "trust": {"rankme": {"spearman": 0.5, "interval": [-0.1, 0.9], "count": 6}},
        "curves": {name: [[[0.0, 0.1], [1.0, 0.2]]] for name in methods},
        "notes": [EVIL],
        "out": str(tmp_path),
    }  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(found))
    return tmp_path


def test_everything_is_there_and_nothing_is_alive(folder: Path) -> None:
    text = compared.write(folder).read_text()
    page = Page(text)
    tags = {tag for tag, _ in page.opened}
    assert not tags & {"script", "iframe", "object", "link"}
    assert not any(name.startswith("on") for _, attributes in page.opened for name in attributes)
    assert text.index("The verdict.") < text.index("Numbers")
    for title in ("Quality against time", "Is it worth training", "Scores that need no labels", "All 1 comparisons"):
        assert title in text
    assert "+0.50" in text
    assert "default-src 'none'" in text
    assert text.count('class="line c') == 12, "ten curves and two of label efficiency; colours come again after eight"


def test_without_labels_there_is_less(folder: Path) -> None:
    found = json.loads((folder / "compare.json").read_text())
    rows = [{k: v for k, v in one.items() if k not in ("knn", "linear")} for one in found["rows"][:-1]]
    found |= {"task": None, "efficiency": None, "rows": rows, "trust": {}, "free_order": {"rankme": ["a", "b"]}}
    text = compared.page(found, {})
    assert "found by another view" in text
    assert "Is it worth training" not in text
    assert "too few runs to say" in text


def test_neighbours_stand_side_by_side(folder: Path) -> None:
    found = json.loads((folder / "compare.json").read_text())
    picture = {"name": EVIL, "label": "a", "image": "iVBORw0KGgo="}
    hits = [{"query": picture, "found": [picture | {"label": "b", "score": 0.9}, picture]}]
    (folder / "measured").mkdir()
    names = [one["name"] for one in found["rows"] if one["role"] == "method"][:2]
    text = compared.page(found, {names[0]: hits, names[1]: hits, "simple_statistics": hits, "raw_pixels": hits})
    Page(text)
    assert text.count('class="sides"') == 1
    assert text.count('class="row"') == 4, "the picture, two methods and one of what needs no training"
    assert text.count('class="other"') == 3
    assert text.count('class="same"') == 3
    assert list(compared.neighbours_in(folder / "measured", found)) == []
