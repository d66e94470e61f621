from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selfsight import report
from selfsight.errors import RunError
from selfsight.report.contents import read

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVIL = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>\x1b[31m\u202e.jpg"
VOID = {"meta", "img", "br", "line", "circle", "path"}


class Page(HTMLParser):
    """Tags that were opened, with their attributes; it fails when they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def score(value: float) -> dict[str, Any]:
    return {"accuracy": value, "interval": [value - 0.02, value + 0.02]}


def scores(knn: float, linear: float) -> dict[str, Any]:
    return {"knn": score(knn), "linear": score(linear)}


def value(number: float) -> dict[str, Any]:
    return {"value": number, "interval": [number - 0.05, number + 0.05]}


def retrieval(number: float) -> dict[str, Any]:
    shares = {name: value(number) for name in ("r_at_1", "r_at_5", "r_at_10", "map_at_r", "r_precision")}
    return {"by": EVIL, "across": "vendor", "queries": 8, "skipped": 1} | shares


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run whose every name is an attack."""
    folder = tmp_path / "run <b>one"
    folder.mkdir()
    recipe = (
        f"# head\ndata:\n- {json.dumps(EVIL)}\nmethod: simclr  # asked <i>for</i>\n"
        "settings:\n  width: 128\n  head: paper  # the method's default\nbatch: 64\n"
        "before:  # 33 % of the time\n  method: vq\n"
    )
    (folder / "recipe.yaml").write_text(recipe)
    steps = [{"step": s, "epoch": s // 10, "loss": 5 - s / 100, "quality": 0.3 + s / 1000} for s in range(0, 400, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps) + '{"step": 40, "lo')
    (folder / "timing.jsonl").write_text('{"step": 10, "seconds": 1.0, "images_per_second": 123.4}\n')
    baselines = {"untrained": scores(0.5, 0.6), "raw_pixels": scores(0.4, 0.45), "pretrained": None}
    evaluation = {
        **scores(0.8, 0.9),
        "baselines": baselines,
        "verdict": {
            "helped": True,
            "sentence": f"Training helped. {EVIL}",
            "measure": "knn",
            "pairs": {"untrained": {"difference": 0.312, "difference_interval": [0.28, 0.344]}},
        },
        "leaks": {"sentence": "1 of 9 test pictures leak."},
        "retrieval": retrieval(0.4),
        "clustering": {"clusters": 3, "pictures": 9, "accuracy": value(0.5), "nmi": value(0.25)},
        "classes": [{"label": EVIL, "pictures": 3, **score(0.3), "said": EVIL}],
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation | {"label_free": {"rankme": 90.5}}))
    image = base64.b64encode(PNG).decode()
    found = [{"name": EVIL, "label": EVIL, "score": 0.9, "image": image}, {"name": "b", "label": "c", "image": EVIL}]
    (folder / "neighbours.json").write_text(
        json.dumps([{"query": {"name": EVIL, "label": EVIL, "image": image}, "found": found}])
    )
    told = {"name": EVIL, "label": EVIL, "image": image}
    (folder / "hard.json").write_text(json.dumps([{"query": told | {"said": EVIL, "confidence": 0.9}, "found": found}]))
    (folder / "leaks.json").write_text(json.dumps([{"query": told, "found": [told | {"as": "the same file"}]}]))
    (folder / "views.png").write_bytes(PNG)
    (folder / "bad_files.csv").write_text(f'path,reason\n"{EVIL.replace(chr(34), "")}",truncated\n')
    return folder


def test_the_page_holds_all_parts(run: Path) -> None:
    path = report.write(run)
    text = path.read_text(encoding="utf-8")
    assert path == run / "report.html"
    for part in ("Numbers", "Without labels", "Training", "Views", "Nearest neighbours", "Recipe", "could not be read"):
        assert part in text
    for part in ("Against each row", "Retrieval", "Clustering", "Weakest classes", "Hard cases", "Leaks"):
        assert f"<h2>{part}</h2>" in text
    for part in ("90.0 % of the votes", "the same file", "1 of 9 test pictures leak", "0.200 to 0.300", "+31.2"):
        assert part in text
    assert text.index("Numbers") < text.index("Retrieval") < text.index("Recipe")
    assert "80.0 %" in text
    assert "78.0 to 82.0" in text
    assert "same network, untrained" in text
    assert "123" in text
    assert "settings.width" in text
    assert [p.name for p in run.glob("report*")] == ["report.html"]


def test_the_page_is_self_contained_and_nothing_in_it_is_alive(run: Path) -> None:
    text = report.write(run).read_text(encoding="utf-8")
    page = Page(text)
    tags = {tag for tag, _ in page.opened}
    assert not tags & {"script", "link", "iframe", "object", "form", "a", "b onerror"}
    assert "\x1b" not in text
    assert "\u202e" not in text
    for tag, attributes in page.opened:
        assert not any(name.startswith("on") or name in {"href", "style"} for name in attributes)
        if tag == "img":
            assert re.fullmatch(r"(data:image/png;base64,[A-Za-z0-9+/=]+)?", attributes["src"] or "")
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("method: simclr\n")
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert "Not evaluated yet" in text
    Page(text)


def test_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"recipe\.yaml"):
        report.write(tmp_path)


def test_the_recipe_is_read_with_its_reasons(run: Path) -> None:
    assert read(run).recipe[1:] == [
        ("method", "simclr", "asked <i>for</i>"),
        ("settings.width", "128", ""),
        ("settings.head", "paper", "the method's default"),
        ("batch", "64", ""),
        ("before", "", "33 % of the time"),
        ("before.method", "vq", ""),
    ]


def test_a_torn_last_line_is_left_out(run: Path) -> None:
    assert len(read(run).metrics) == 200


def test_broken_json_names_its_remedy(run: Path) -> None:
    (run / "evaluation.json").write_text("{")
    with pytest.raises(RunError, match="evaluate again"):
        read(run)


def test_a_number_without_end_is_not_drawn(run: Path) -> None:
    lines = [{"step": 10**400, "loss": 1.0}, {"step": 2, "loss": -(10**400)}, {"step": 3, "loss": 1.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Page(report.write(run).read_text(encoding="utf-8"))


def test_the_guards_words_and_the_trust_in_scores_are_shown(run: Path) -> None:
    lines = [
        {"step": 0, "sentence": f"nothing is upright {EVIL}"},
        {"step": 2, "alarm": "dead_dimensions", "sentence": f"half is dead {EVIL}"},
        {"step": 3, "skipped": "not finite", "tensor": f"the term {EVIL}", "samples": [1, 2]},
        {"step": 4, "rankme": 9.0, "kept": True},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = {"spearman": 0.5, "interval": [0.1, 0.8], "kendall": 0.4, "kendall_interval": [-0.1, 0.7], "count": 12}
    agreement = {"rankme": known, "std": {"interval": None}, "lidar": {"spearman": 0.3, "interval": [0, 1]}}
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["trust"] = {"measures": agreement, "sentence": f"Trust none {EVIL}"}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    text = report.write(run).read_text(encoding="utf-8")
    assert text.index("nothing is upright") < text.index("half is dead")
    for part in (
        "Warnings",
        "the step changed nothing",
        "encoder of step",
        "+0.50",
        "+0.10 to +0.80",
        "+0.40",
        "-0.10 to +0.70",
        "+0.30",
    ):
        assert part in text
    assert EVIL not in text
    Page(text)
