from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from selfsight.report import tables
from selfsight.report.words import conclusions, interval, percent, plain, sentence

EVALUATION = {
    "knn": {"accuracy": 0.812, "interval": [0.79, 0.83]},
    "linear": {"accuracy": 0.871, "interval": [0.85, 0.89]},
    "label_free": {"rankme": 97.31234},
    "baselines": {
        "untrained": {"knn": {"accuracy": 0.5, "interval": [0.48, 0.52]}, "label_free": {"rankme": 4, "lidar": 3.5}},
        "pretrained": None,
    },
    "few": {"1": {"accuracy": 0.31, "interval": [0.3, 0.32]}},
    "verdict": {"helped": True, "sentence": "Training helped."},
}


def test_an_evaluation_in_a_pipe_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show("evaluate", EVALUATION)
    assert capsys.readouterr().out.splitlines() == [
        "encoder\tnearest neighbours\tlinear probe\t1 label a class",
        "this run\t81.2 %  79.0 to 83.0\t87.1 %  85.0 to 89.0\t31.0 %  30.0 to 32.0",
        "the same network, untrained\t50.0 %  48.0 to 52.0",
        "without labels\tthis run\tthe same network, untrained",
        "effective rank (RankMe)\t97.31\t4",
        "LiDAR (where pictures are enough)\t-\t3.5",
        "Training helped.",
    ]


def test_the_lead_over_each_row_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    lead = {"difference": 0.312, "difference_interval": [0.28, 0.344]}
    behind = {"difference": -0.01, "difference_interval": [-0.02, 0.0]}
    named = {"measure": "knn", "pairs": {"untrained": lead, "raw_pixels": behind}}
    seen = {"helped": False, "sentence": "Told apart.", "pairs": {"untrained": behind}}
    tables.show("evaluate", EVALUATION | {"verdict": EVALUATION["verdict"] | named | {"retrieval": seen}})
    assert capsys.readouterr().out.splitlines()[6:] == [
        "Against each row",
        "this run against\tnearest neighbours\tfound by another view",
        "the same network, untrained\t+31.2 +28.0 to +34.4\t-1.0 -2.0 to +0.0",
        "raw pixels\t-1.0 -2.0 to +0.0",
        "Training helped.",
        "Told apart.",
    ]


def test_without_labels_the_lead_is_of_views_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lead = {"difference": 0.3, "difference_interval": [0.2, 0.4]}
    apart = {"measure": "two_views", "sentence": "No labels.", "pairs": {"untrained": lead}}
    tables.show("evaluate", {"verdict": apart})
    assert capsys.readouterr().out.splitlines() == [
        "Against each row",
        "the same network, untrained\t+30.0 +20.0 to +40.0",
        "No labels.",
    ]


def test_retrieval_leaks_and_weak_classes_are_told_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    half = {"value": 0.5, "interval": [0.4, 0.6]}
    retrieval = {"by": "label", "across": None, "queries": 9, "skipped": 0, "r_at_1": half, "map_at_r": half}
    one = {"pictures": 9, "interval": [0.1, 0.3], "said": None}
    classes = [one | {"label": name, "accuracy": 0.2} for name in ("ant", "bee", "cow", "dog")]
    more = {"retrieval": retrieval, "leaks": {"sentence": "2 leak."}, "classes": classes}
    tables.show("evaluate", EVALUATION | more)
    shown = capsys.readouterr().out.splitlines()
    assert shown[3:5] == ["\tretrieval R@1\tretrieval mAP@R", "this run\t50.0 %  40.0 to 60.0\t50.0 %  40.0 to 60.0"]
    assert shown[-3:] == [
        "2 leak.",
        "Weakest classes: ant 20.0 % of 9, bee 20.0 % of 9, cow 20.0 % of 9.",
        "Training helped.",
    ]


def test_on_a_terminal_it_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    tables.plan([("batch", 128, "asked for"), ("[red]name", "x\x1b[2J", "because")])
    shown = capsys.readouterr().out
    assert "because" in shown
    assert "[red]name" in shown
    assert "\x1b[2J" not in shown


def test_findings_name_a_few_and_count_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class Found:
        pictures: int
        classes: list[str]
        suggestions: list[str]

    tables.show("inspect", Found(3, list("abcdefg"), ["Remove the duplicates."]))
    assert capsys.readouterr().out.splitlines() == [
        "pictures\t3",
        "classes\ta, b, c, d, e, ... and 2 more",
        "- Remove the duplicates.",
    ]


def test_methods_are_a_table_and_one_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    setting = {"name": "temperature", "type": "float above 0", "default": None, "note": "tau"}
    one = {"name": "simclr", "idea": "agree", "story": "SimCLR: agree.", "settings": [setting]}
    tables.show("methods", [one, one | {"name": "other"}])
    assert capsys.readouterr().out.splitlines()[:2] == ["simclr\tagree", "other\tagree"]
    tables.show("methods", [one])
    assert (
        capsys.readouterr().out
        == "SimCLR: agree.\n\n--set\ttype\tdefault\tmeaning and source\ntemperature\tfloat above 0\tautomatic\ttau\n"
    )


def test_a_run_and_a_path_say_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show("train", Path("runs/a"))
    tables.show("embed", Path("here"))
    shown = capsys.readouterr().out
    assert "runs/a/report.html" in shown
    assert shown.endswith("here\n")


def test_words() -> None:
    assert (percent(0.8123), interval(None), plain(0.123456), plain(True), plain(None)) == (
        "81.2 %",
        "",
        "0.1235",
        "yes",
        "none",
    )
    assert plain([{"path": "a.jpg", "reason": "truncated", "detail": ""}, "b"]) == "a.jpg: truncated = b"
    assert sentence({"sentence": "x", "helped": True}) == ("x", True)
    assert sentence({"sentence": "x", "helped": None}) == ("x", False)
    assert sentence(None) == ("", False)
    both = {"sentence": "x", "helped": None, "retrieval": {"sentence": "y", "helped": True}}
    assert conclusions(both) == [("x", False), ("y", True)]
    assert conclusions(None) == []
