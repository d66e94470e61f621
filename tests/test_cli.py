from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

import selfsight
from selfsight import api, cli
from selfsight.errors import CollapsedError, DataError, DivergedError, Interrupted, TrainingError
from selfsight.report import tables

HEAVY = {"torch", "timm", "cv2", "lightning_fabric", "sklearn", "scipy", "numpy", "pyarrow", "PIL"}
WHAT_IS_LOADED = """
import sys, runpy, time, json
began = time.process_time()
sys.argv = ["selfsight", *sys.argv[1:]]
try:
    runpy.run_module("selfsight", run_name="__main__")
except SystemExit as end:
    code = end.code
took = time.process_time() - began
sys.stderr.write(json.dumps({"code": code, "seconds": took, "modules": sorted(sys.modules)}))
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every command records what it was given, in place of doing it."""
    seen: list[dict[str, Any]] = []

    def recorder(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def record(**given: Any) -> str:
            seen.append(given)
            return "done"

        return record

    monkeypatch.setattr(tables, "show", lambda command, result: None)
    for name, function in cli.COMMANDS.items():
        monkeypatch.setitem(cli.COMMANDS, name, recorder(function))
    return seen


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_is_quick_and_loads_nothing_heavy(command: str) -> None:
    arguments = [*([command] if command else []), "--help"]
    best = None
    for _ in range(3):  # the first may be cold
        done = subprocess.run([sys.executable, "-c", WHAT_IS_LOADED, *arguments], capture_output=True, text=True)
        facts = json.loads(done.stderr)
        best = min(best or 9.0, facts["seconds"])
        if best <= 0.3:
            break
    assert facts["code"] == 0
    assert not HEAVY & set(facts["modules"])
    assert best <= 1.0  # on a busy machine
    assert "Usage: selfsight" in done.stdout


def test_only_finished_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    first = ["inspect", "train", "evaluate", "compare", "classify", "embed", "search", "browse", "export"]
    assert list(cli.COMMANDS) == [*first, "pack", "methods", "demo"]
    assert all(name in listed for name in cli.COMMANDS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == selfsight.__version__


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_parameter_is_explained(command: str) -> None:
    for name in inspect.signature(cli.COMMANDS[command]).parameters:
        assert cli.HELP.get(f"{command}.{name}", cli.HELP.get(name)), f"{command}: {name} has no help"
    assert (cli.COMMANDS[command].__doc__ or "").strip()


def test_flags_reach_the_function(calls: list[dict[str, Any]]) -> None:
    line = "train photos more.csv --for 10m --set temperature=0.2 --set width=128 --lr 0.1 --out runs/a --use-all"
    assert cli.main(line.split()) == 0
    assert calls == [
        {
            "data": ["photos", "more.csv"],
            "length": "10m",
            "settings": {"temperature": "0.2", "width": "128"},
            "lr": 0.1,
            "out": Path("runs/a"),
            "use_all": True,
        }
    ]


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("train photos", {"data": "photos"}),
        ("train --resume runs/a", {"resume": Path("runs/a")}),
        ("evaluate runs/a", {"run": Path("runs/a")}),
        ("evaluate runs/a photos --json out.json", {"run": Path("runs/a"), "data": "photos", "json": Path("out.json")}),
        ("embed runs/a photos --out here", {"run": Path("runs/a"), "data": "photos", "out": Path("here")}),
        (
            "embed runs/a --prune --to postgresql://me@host/base",
            {"run": Path("runs/a"), "prune": True, "to": "postgresql://me@host/base"},
        ),
        (
            "search runs/a b.png 7 --unlike c.png --unlike 9 -k 3 --label cat --path x/* --sheet s.png",
            {
                "place": "runs/a",
                "query": ["b.png", "7"],
                "unlike": ["c.png", "9"],
                "k": 3,
                "label": ["cat"],
                "path": "x/*",
                "sheet": Path("s.png"),
            },
        ),
        ("search vectors --diverse 5", {"place": "vectors", "diverse": 5}),
        ("classify runs/a photos --out a.csv", {"run": Path("runs/a"), "data": "photos", "out": Path("a.csv")}),
        (
            "classify runs/a photos more --labels b.csv --labels c --label-column kind --out a.csv",
            {
                "run": Path("runs/a"),
                "data": ["photos", "more"],
                "labels": ["b.csv", "c"],
                "label_column": "kind",
                "out": Path("a.csv"),
            },
        ),
        (
            "classify runs/a photos --labels b.csv --out a.csv",
            {"run": Path("runs/a"), "data": "photos", "labels": "b.csv", "out": Path("a.csv")},
        ),
        (
            "compare photos --methods simclr,vdvs --for 10m --seeds 3",
            {"data": "photos", "methods": "simclr,vdvs", "length": "10m", "seeds": 3},
        ),
        ("inspect photos --label-column kind", {"data": "photos", "label_column": "kind"}),
        ("export runs/a", {"run": Path("runs/a")}),
        (
            "export runs/a photos --format onnx --int8",
            {"run": Path("runs/a"), "data": "photos", "format": "onnx", "int8": True},
        ),
        ("pack photos shards", {"data": "photos", "out": Path("shards")}),
        ("methods", {}),
        ("methods simclr", {"name": "simclr"}),
        ("demo --for 1m", {"length": "1m"}),
    ],
)
def test_each_command_in_short(line: str, given: dict[str, Any], calls: list[dict[str, Any]]) -> None:
    assert cli.main(line.split()) == 0
    assert calls == [given]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("trian photos", 'Did you mean "train"?'),
        ("train photos --sed 3", "Did you mean --seed?"),
        ("train photos --precision fp16", "fp32"),
        ("train photos --batch many", "--batch"),
        ("train photos --set temperature", "key=value"),
        ("train photos --set a=1 --set a=2", "twice"),
        ("search", "PLACE"),
        ("search runs/a 1 -k many", "-k"),
        ("evaluate", "RUN"),
    ],
)
def test_a_wrong_line_is_one_sentence(
    line: str, says: str, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("selfsight: ")
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert not calls


def test_errors_are_a_sentence_and_with_debug_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str | None = None) -> None:
        raise DataError("no picture in 'x\x1b[31m'; give another folder.")

    monkeypatch.setitem(cli.COMMANDS, "methods", fail)
    assert cli.main(["methods"]) == 2
    assert (
        capsys.readouterr().err == "selfsight: no picture in 'x\N{REPLACEMENT CHARACTER}[31m'; give another folder.\n"
    )
    with pytest.raises(DataError):
        cli.main(["methods", "--debug"])


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "no", "/x"), 2),
        (Interrupted("saved", 15), 143),
        (DivergedError("not finite"), 3),
        (CollapsedError("nothing is learned"), 3),
        (TrainingError("a rank is gone"), 2),
    ],
)
def test_exit_codes(raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str | None = None) -> None:
        raise raised

    monkeypatch.setitem(cli.COMMANDS, "methods", fail)
    assert cli.main(["methods"]) == code


def test_a_fault_of_ours_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(name: str | None = None) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(cli.COMMANDS, "methods", fail)
    assert cli.main(["methods"]) == 1
    shown = capsys.readouterr().err
    assert "this is a fault of Selfsight (ZeroDivisionError: division by zero)" in shown
    assert "--debug" in shown
    assert "Traceback" not in shown
    with pytest.raises(ZeroDivisionError):
        cli.main(["methods", "--debug"])


def test_help_says_what_is_taken() -> None:
    assert "steps" not in cli.HELP["save_every"]
    assert "Threads" in cli.HELP["workers"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--set temperature=hot", "temperature cannot be 'hot': it must be a number above 0"),
        ("--lr -1", "lr cannot be -1.0"),
        ("--workers -1", "workers cannot be -1: it must be a whole number from 0 on"),
        ("--threads 0", "threads cannot be 0"),
        ("--device gpu", "there is no device 'gpu'"),
    ],
)
def test_values_that_cannot_be_are_a_sentence(
    flags: str, says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train {photos} --out {tmp_path / 'run'} --for 1steps --size 32 --encoder test_resnet --use-all {flags}"
    assert cli.main(line.split()) == 2
    assert says in capsys.readouterr().err


def test_addresses_stay_as_they_are() -> None:
    assert api.given(["s3://bucket/pictures", "here"]) == ["s3://bucket/pictures", str(Path("here").absolute())]


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, selfsight; dir(selfsight); selfsight.train; print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {f"'{name}'" for name in HEAVY} & set(shown.strip("[]\n").split(", "))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = selfsight.nothing


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "selfsight", "--help"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert b"Traceback" not in done.stderr
    assert time.monotonic() - began < 20
