"""The benchmarks still start, their small parts do what they say, and docs/benchmarks.md shows what was measured."""

from __future__ import annotations

import ast
import json
import runpy
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from contract_parts import batch_of, everything_scanned, made, recipe_of
from torch.nn.modules.module import register_module_forward_pre_hook

from selfsight.errors import Interrupted, RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.weights import weights_from

HOME = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(HOME.glob("*.py"))
COMMANDS = [script for script in SCRIPTS if '__name__ == "__main__"' in script.read_text(encoding="utf-8")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a script as a command with these arguments, or without any as a module; returns its names."""
    monkeypatch.syspath_prepend(HOME)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # views.py sets it, and monkeypatch puts it back

    def run(script: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with warnings.catch_warnings(action="ignore"):  # lightly's and torchvision's own
            return runpy.run_path(str(HOME / script), run_name="__main__" if arguments else Path(script).stem)

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_loads(script: Path, started: Callable[..., dict[str, Any]]) -> None:
    assert started(script.name)["__doc__"]
    for part in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):  # in functions too
        if isinstance(part, ast.ImportFrom) and str(part.module).startswith("selfsight"):
            exec(f"from {part.module} import {', '.join(name.name for name in part.names)}", {})


@pytest.mark.parametrize("script", COMMANDS, ids=lambda script: script.name)
def test_help(script: Path, started: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        started(script.name, "--help")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_page_shows_the_results(started: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SystemExit) as ended:
        started("table.py", "--check")
    assert ended.value.code == 0, ended.value.code


def test_crops_are_the_same_every_time(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    crops = started("photographs.py")["crops"]
    first, second = (crops(tmp_path / name, count=4, side=16) for name in ("first", "second"))
    files = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(files) == 4
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_one_difference_fails_the_sweep(started: Callable[..., dict[str, Any]]) -> None:
    names = started("killsweep.py")
    counts = {"points": 3, "died": 3, "refused": 0, "whole": 3, "gone": 3, "ends": 1, "identical": 1}
    row = {"case": "moco", "mode": "syscall", "workers": 0, "source": "folder", "deterministic": True, "failed": []}
    row |= counts
    assert names["passed"](row)
    assert not names["passed"](row | {"identical": 0})
    assert not names["passed"](row | {"whole": 2})
    found_out = row | {"case": "overwriting", "whole": 0}
    assert names["passed"](found_out)
    assert not names["passed"](found_out | {"whole": 3})
    text = names["table"]({"rows": [row, row | {"workers": 2, "identical": 0}, found_out]})
    assert "| moco | syscall | 6 | 6 | 0 | 6 | 2 | 1 |" in text
    assert text.endswith("1 of 2 ends byte-identical; a saver that writes in place is found out: yes.")
    told = "3 kills again and again, at random moments or at system calls, of 1 methods: 1 of 1 ends byte-identical"
    assert names["promises"]([row])["R2"] == told


def test_every_part_of_the_torture_is_there(
    started: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    started("torture.py", "--list")
    assert "soak" in capsys.readouterr().out
    for part in started("torture.py")["PARTS"].values():
        script = next(word for word in part.words.split() if word.endswith(".py"))
        assert (HOME.parent / script).is_file()
        if script == "benchmarks/stops.py":
            names = {check.__name__ for check in started("stops.py")["CHECKS"]}
            assert {*part.words.split("--only ")[1].split()} <= names


def test_weights_of_another_name_make_the_same_network(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Bit for bit; and the tensors of another network are refused."""
    names = started("vdvs.py")
    network = timm.create_model(names["ENCODER"]).eval()
    torch.save({f"other.{number}": one for number, one in enumerate(network.state_dict().values())}, tmp_path / "a.pth")
    file = names["converted"](tmp_path / "a.pth", tmp_path / "runs")
    encoder = Encoder(names["ENCODER"], size=64).eval()
    assert weights_from(encoder, file) == f"294 of 294 tensors from {file.name}"
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(pixels), network.forward_head(network.forward_features(pixels), pre_logits=True))
    torch.save({"one": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(SystemExit, match="does not hold"):
        names["converted"](tmp_path / "b.pth", tmp_path / "runs")


def test_a_listing_keeps_the_whole_test_part(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    names = started("vdvs.py")
    rows = [f"{number}.png,{number // 2},{'test' if number % 3 == 0 else 'train'}" for number in range(12)]
    (tmp_path / "labels.csv").write_text("path,texture,split_texture\n" + "\n".join(rows) + "\n")
    file = names["listing"](tmp_path, names["TASKS"]["terrain"], 4, tmp_path / "there" / "pictures.csv")
    found = [line.split(",") for line in file.read_text().splitlines()[1:]]
    assert [Path(path).stem for path, _, part in found if part == "test"] == ["0", "3", "6", "9"]
    assert [Path(path).stem for path, _, part in found if part == "train"] == ["1", "4", "7", "10"]
    assert all(Path(path).parent == tmp_path for path, _, _ in found)


def test_the_verdict_on_fine_tuning(started: Callable[..., dict[str, Any]]) -> None:
    names = started("vdvs.py")
    row = {"task": "terrain", "pictures": 4, "asked": 9, "size": 128, "crops": 4, "batch": 4, "lr": 1e-5}
    row |= {"variant": "paper", "reduction": "mean", "interval": [0.5, 0.7], "rankme": 9.0, "mean_cos": 0.3}
    start = row | {"epochs": 0, "accuracy": 0.6}
    one, two = (row | {"epochs": n, "accuracy": 0.6 + n / 10, "terms": {"difference": 1.1}} for n in (1, 2))
    rows = [two | {"change": [0.1, 0.3]}, start, one | {"change": [-0.1, 0.3]}]
    assert "helped: with the best of these lengths, 2 epochs, R@1 moved by +20.0" in names["table"]({"rows": rows})
    assert "| 1 | 0.700 (0.500 to 0.700) | -0.100 to +0.300 | 9 | 0.300 | 1.100 |" in names["table"]({"rows": rows})
    assert "is not shown to help" in names["table"]({"rows": rows[1:]})


def test_ratios(started: Callable[..., dict[str, Any]]) -> None:
    speeds = {
        "ours": [90.0, 99.0],
        "bare": [100.0, 100.0],
        "lightly_equal": [60.0, 60.0],
        "lightly_defaults": [60.0] * 2,
    }
    names = started("end_to_end.py")
    found = names["ratios"](speeds)
    assert found["bare"]["median"] == pytest.approx(0.945)
    row = {"encoder": "resnet18", "size": 64}
    assert names["aim"]("bare", row, found["bare"]) == " 0.94 (0.90 to 0.99) | | |", "in_turns.py judges it"
    assert names["aim"]("lightly_defaults", row, found["lightly_defaults"]) == " 1.57 (1.50 to 1.65) | 1.85 | no |"
    assert names["aim"]("lightly_equal", row, found["lightly_equal"]).endswith("| 1.20 | yes |")
    assert names["aim"]("lightly_equal", row | {"size": 32}, found["lightly_equal"]).endswith("| | |")


def test_looks_of_a_short_round_cost_what_those_of_a_real_run_do(started: Callable[..., dict[str, Any]]) -> None:
    """1 % of the views that are computed, forward and backward; of up to 64 pictures two views are drawn as well."""
    shown = started("end_to_end.py")["shown"]
    for steps, batch, looks in ((80, 32, 4), (100, 128, 4), (78, 128, 6), (1000, 128, 23)):
        count = shown(steps, batch, looks)
        drawn = looks * (count + 2 * min(count, 64))
        assert drawn == pytest.approx(0.01 * 6 * steps * batch, rel=0.1), (steps, batch, looks)
    assert shown(5, 8, 4) == 8, "by fewer nothing is told apart"


def test_a_row_is_taken_only_for_the_options_that_it_was_made_with(
    started: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole command, but for the measuring."""
    names, made = started("end_to_end.py"), list[str]()
    scene = names["main"].__globals__

    def row(asked: Any, size: int) -> dict[str, Any]:
        made.append(f"{asked.encoder} {size}")
        return {**scene["key_of"](asked, size), "milliseconds": {}}

    monkeypatch.setitem(scene, "row", row)
    monkeypatch.setitem(scene, "table", lambda results: str(len(results["rows"])))
    for words, count in (("", 1), ("", 1), ("--precision fp32", 2), ("--steps 7", 3), ("--sizes 32", 4), ("", 5)):
        monkeypatch.setattr(sys, "argv", ["x", "--json", str(tmp_path / "r.json"), "--sizes", "64", *words.split()])
        names["main"]()
        assert len(made) == count, words
    names = started("time_to_quality.py")
    keys: dict[str, list[Any]] = {"lightly": [], "defaults": []}
    for words in ("--for 4epochs", "--for 1m", "--set temperature=0.2", "--threads 7"):
        monkeypatch.setattr(sys, "argv", ["x", "--table", *words.split()])
        for side, found in keys.items():
            found.append(names["key_of"](names["options"](), "emoji_free", 0, side))
    assert [keys["defaults"].count(key) for key in keys["defaults"]] == [1] * 4
    assert [keys["lightly"].count(key) for key in keys["lightly"]] == [3, 3, 3, 1]
    there = started("listing.py")["there"]
    found = {"listing": {"files": 9}, "digests": {"files": 9, "dropped": True}, "opening": {"rows": 9}}
    found["speeds"] = {"1000": {"rounds": [1.0] * 5}}
    assert there(found, 9, 1000) == set(found)
    older = found | {"digests": {"files": 9}, "speeds": {"1000": {"rounds": [1.0] * 3}}}
    assert there(older, 9, 1000) == {"listing", "opening"}
    assert there(found, 8, 10_000) == set()


def test_when_a_quality_is_reached(started: Callable[..., dict[str, Any]]) -> None:
    """Untrained 0.2 and best 0.7, so 0.6 is wanted: lightly has it after 250 s, ours after 50 s."""
    names = started("time_to_quality.py")
    theirs, ours = [[0, 0.2], [100, 0.4], [200, 0.5], [300, 0.7], [400, 0.6]], [[0, 0.2], [40, 0.5], [60, 0.7]]
    assert names["reached"](theirs, 0.6) == pytest.approx(250)
    assert names["reached"](theirs, 0.8) is None
    row = {"task": "emoji_free", "seed": 0}
    rows = [row | {"variant": "lightly", "points": theirs}, row | {"variant": "defaults", "points": ours}]
    assert "| 0.600 | 250 | 50 | 5.0 (5.0 to 5.0) | yes |" in names["table"]({"rows": rows})
    rows[1]["points"] = ours[:2]
    assert "not reached" in names["table"]({"rows": rows})


def test_labels_are_compared_on_the_same_seeds(started: Callable[..., dict[str, Any]]) -> None:
    """The second seed has no partner; of the other side's two readings the better one counts, though it comes last."""
    names = started("supcon.py")

    def row(kind: str, seed: int, **right: list[int]) -> dict[str, Any]:
        packed = {name: np.packbits(hits).tobytes().hex() for name, hits in right.items()}
        accuracy = {name: float(np.mean(hits)) for name, hits in right.items()}
        shared = {"task": "emoji_free", "encoder": "x", "size": 32, "images": 10, "minutes": 1.0, "test": 10}
        arm = {"views": 2, "percent": 100, "alone": False, "groups": "0 1 2 3 4 5 6 7 8 9"}
        return {**shared, **arm, "kind": kind, "seed": seed, "right": packed, "accuracy": accuracy}

    rows = [row("SupCon", seed, probe=[1] * 9 + [0]) for seed in (0, 1)]
    rows += [row("cross-entropy", 0, probe=[1] * 3 + [0] * 7, classifier=[0] * 2 + [1] * 8)]
    shown = names["table"]({"rows": rows})
    assert "| emoji_free | SupCon | 0.900; 1.0 | cross-entropy | 0.800; 1.0 | +0.100 (" in shown
    assert shown.endswith("one of the tasks: reached.")


def knn_row(seed: int, hits: list[int], **own: Any) -> dict[str, Any]:
    """A row as beside_lightly.py and dcl.py keep it."""
    right = {"kNN": np.packbits(hits).tobytes().hex()}
    facts = {"task": "fashion_mnist", "seed": seed, "test": 10, "groups": "0 1 2 3 4 5 6 7 8 9", "steps": 100}
    return facts | {"right": right, "accuracy": {"kNN": float(np.mean(hits))}} | own


def test_ours_and_lightlys_are_compared_on_the_same_seeds(started: Callable[..., dict[str, Any]]) -> None:
    names = started("beside_lightly.py")
    shared = {"method": "byol", "encoder": "x", "size": 32, "batch": 8, "images": 10, "precision": "fp32"}
    shared |= {"images_per_second": 9.0}
    rows = [knn_row(seed, [1] * 9 + [0], side="selfsight", **shared) for seed in (0, 1)]
    rows += [knn_row(0, [0] * 9 + [1], side="lightly", own_views=4.0, **shared)]
    shown = names["table"]({"rows": rows})
    assert "| fashion_mnist | `byol` | 0.900 (0.900 to 0.900) | 0.100 (0.100 to 0.100) | +0.800 (" in shown
    assert "| 9 | 9 | 4 |" in shown
    assert shown.endswith("beyond the interval: none.")
    swapped = [one | {"side": "selfsight" if one["side"] == "lightly" else "lightly", "own_views": 4.0} for one in rows]
    told = "x, 32 px, batches of 8, 10 pictures seen, fp32"
    assert names["table"]({"rows": swapped}).endswith(f"beyond the interval: byol on fashion_mnist ({told}).")
    both = names["table"]({"rows": rows + [one | {"size": 64} for one in swapped]})
    assert both.count("| fashion_mnist | `byol` |") == 2, "another size is another experiment"
    assert both.endswith("beyond the interval: byol on fashion_mnist (x, 64 px, batches of 8, 10 pictures seen, fp32).")


row_of_dcl = {"encoder": "x", "size": 32, "batch": 32, "precision": "bf16", "criterion": "dcl"}


def test_a_line_for_each_experiment(started: Callable[..., dict[str, Any]]) -> None:
    """Other lengths, networks and sizes are not averaged with it, and a side alone is no line."""
    names = started("dcl.py")
    key = {"encoder": "x", "size": 32, "batch": 32, "length": "9epochs", "precision": "bf16"}
    rows = [knn_row(0, [1] * 9 + [0], criterion="dcl", **key), knn_row(0, [1, 0] * 5, criterion="nt-xent", **key)]
    rows += [one | {"length": "8epochs", "right": rows[0]["right"]} for one in rows]
    rows += [knn_row(0, [1] * 10, criterion="dcl", **key | {"batch": 128})]
    shown = names["table"]({"rows": rows})
    facts = "| fashion_mnist | x | 32 | 32 |"
    assert f"{facts} 9epochs | bf16 | 100 (1) | 0.900 (0.900 to 0.900) | 0.500 (0.500 to 0.500) | +0.400 (" in shown
    assert f"{facts} 8epochs | bf16 | 100 (1) | 0.900 (" in shown
    assert "| +0.000 (" in shown
    assert "| 128 |" not in shown


def test_docstrings_are_documents_of_a_package_and_a_file(
    started: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = started("documents.py")
    monkeypatch.setattr(names["sysconfig"], "get_path", lambda name: str(tmp_path / "lib"))
    told = " ".join(["word"] * 20)
    for file in ("email/parser.py", "email/test/case.py", "site-packages/other.py"):
        (tmp_path / "lib" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / file).write_text(f'"""{told}"""\ndef short():\n    """A few words."""\n')
    (tmp_path / "lib" / "broken.py").write_text("def (")
    assert list(names["docstrings"]()) == [("email", "email/parser", told)]
    assert names["written"](tmp_path / "made").read_text().split() == ["path,label,group", "00000.txt,,email/parser"]
    assert (tmp_path / "made" / "00000.txt").read_text() == told


def test_rows_name_the_machine_that_each_was_measured_on(
    started: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    names, machines = started("quality.py"), started("machine.py")
    file = tmp_path / "found.json"
    before = {"date": "2020-01-01", "processor": "Abacus", "cores": 1, "platform": "Linux"}
    file.write_text(json.dumps({"machine": before, "rows": [{"seed": 0}]}))
    asked = Namespace(table=False, json=file, data=tmp_path, tasks=[])
    names["filled"](asked, results := names["begun"](asked), [{"seed": 0}, {"seed": 1}], lambda key: [{"figure": 2}])
    assert json.loads(file.read_text())["rows"] == results["rows"]
    here = machines["told"](machines["facts"]())
    assert [one["machine"] for one in results["rows"]] == ["2020-01-01, Abacus, 1 core, Linux", here]
    assert machines["measured_on"](results) == f"Measured: 2020-01-01, Abacus, 1 core, Linux; {here}."
    assert machines["measured_on"]({"machine": before}) == "Measured: 2020-01-01, Abacus, 1 core, Linux."


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")  # lightly's own
def test_lightlys_methods_learn_around_our_encoder(started: Callable[..., dict[str, Any]]) -> None:
    names = started("lightly_methods.py")
    views = torch.randint(0, 256, (2, 4, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert set(names["RIVALS"]) == set(started("beside_lightly.py")["OURS"])
    for name, make in names["RIVALS"].items():
        encoder = Encoder("test_resnet", size=32)
        rival = make(encoder, *([8] if name in ("nnclr", "moco") else []))
        rival.before(0.5)
        exact: list[bool] = []

        def ask(part: torch.nn.Module, given: tuple[Any, ...], exact: list[bool] = exact) -> None:
            if type(part).__name__.endswith(("Loss", "Similarity", "BankModule", "SIGReg", "SwaVPrototypes")):
                rows = torch.stack(given[0]) if isinstance(given[0], list) else given[0]
                exact.append(rows.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"))

        with register_module_forward_pre_hook(ask), torch.autocast("cpu", torch.bfloat16):
            loss = rival.loss(*views)
        loss.backward()
        assert torch.isfinite(loss), name
        assert exact, name
        assert all(exact), f"{name}: networks may run in bf16, losses and memory are in float32"
        assert all(p.grad is not None for p in encoder.parameters()), name


def test_our_moco_is_lightlys_step_for_step(started: Callable[..., dict[str, Any]]) -> None:
    """From the same weights and queue: beside_lightly.py starts heads and queue from other random numbers."""
    torch.manual_seed(0)
    ours: Any = made("moco", splits=1, negatives=64, temperature=0.1, teacher_momentum=0.99, batch=16)
    rival = started("lightly_methods.py")["RIVALS"]["moco"](deepcopy(ours.encoder), 64)
    network, teacher, criterion = rival.network
    for mine, theirs in zip(ours.projector[::2], network[1].layers[::2], strict=True):
        theirs.load_state_dict(mine.state_dict())
    teacher.load_state_dict(network.state_dict())
    criterion.memory_bank.bank.copy_(ours.queue.keys)
    sides = [torch.optim.SGD([p for p in side.parameters() if p.requires_grad], 0.05) for side in (ours, rival.network)]
    for step in range(6):
        views = torch.randint(0, 256, (16, 2, 32, 32, 3), dtype=torch.uint8)
        batch = {"views": views, "position": 16 * step + torch.arange(16)}
        rows = {**ours.project(batch), **ours.targets(batch)}
        rival.before(0.0)
        both = [ours.loss(rows, batch)["loss"], rival.loss(*views.unbind(dim=1))]
        assert both[0].item() == pytest.approx(both[1].item(), rel=1e-4)
        for optimizer, loss in zip(sides, both, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            ours.on_step_end(rows, batch)


def test_intervals_hold_the_truth_in_a_few_worlds(started: Callable[..., dict[str, Any]]) -> None:
    """The quick version of benchmarks/interval_coverage.py: of 100 intervals of 95 %, 88 or more with chance 0.998."""
    names = started("interval_coverage.py")
    for world in ((20, "five", 0.05, 0.015), (50, "unequal", 0.8, 0.06), (50, "one", 0.5, 0.06)):
        found = names["covered"](names["World"](*world), 100)
        assert found["share"]["held"] >= 0.88, world
        assert found["difference"]["held"] >= 0.88, world


def test_what_the_tables_of_large_sets_call_reached(started: Callable[..., dict[str, Any]]) -> None:
    listed = {"listing": {"files": 1000, "seconds": 0.05}, "opening": {"rows": 1000, "seconds": 0.002}}
    listed["digests"] = {"files": 5000, "megabytes_per_second": 160.0}
    listed["speeds"] = {"1000": {"opened": 0.1, "images_per_second": 500.0, "rounds": [500.0, 600.0, 400.0]}}
    listed["speeds"]["10000"] = {"opened": 0.9, "images_per_second": 440.0, "rounds": [440.0, 540.0, 352.0]}
    lines = started("listing.py")["table"]({"listing": listed}).splitlines()
    assert [line.endswith("| yes |") for line in lines[2:5]] == [True, True, False]
    assert lines[-1] == "| 10,000 | 0.9 | 440 | 0.88 | no |"
    assert "their contents were still in it" in "".join(lines), "nobody says that they were dropped"
    row = {"encoder": "resnet18", "size": 64, "batch": 128, "precision": "bf16", "channels_last": True, "threads": 2}
    turns = [{"ours": [97.0, 90.0, 96.0], "bare": [100.0, 96.0, 100.0]}, {"ours": [90.0] * 3, "bare": [100.0] * 3}]
    turns = [one | {"own": [2 * speed for speed in one["bare"]]} for one in turns]
    rows = [{**row, **those, "second": bool(place)} for place, those in enumerate(turns)]
    lines = started("in_turns.py")["table"]({"rows": rows}).splitlines()[2:]
    speeds, ratios = "100.0 (96.0 to 100.0) | 96.0 (90.0 to 97.0)", "0.960 (0.938 to 0.970) | 0.95 | yes"
    assert lines[0].endswith(f"3 turns | {speeds} | {ratios} | 0.480 (0.469 to 0.485) |")
    assert "the second epoch of JPEGs of 500 x 375 |" in lines[1]
    assert lines[1].endswith("| no | 0.450 (0.450 to 0.450) |")
    sides = {name: {"median": m, "least": m, "most": m} for name, m in (("1 rank, 1 thread", 10.0), ("2 ranks", 18.0))}
    had = {"size": 64, "batch": 128, "precision": "fp32", "threads": 2, "pictures": 5000, "rounds": 1}
    found = {"settings": had, "images_per_second": sides, "communication": {"share": 0.04}}
    assert "| 2 ranks | 18.0 (18.0 to 18.0) | 1.80 | 4.0 % |" in started("ranks.py")["table"](found)


def test_defaults_in_the_order_of_their_ranks_and_what_variants_add(started: Callable[..., dict[str, Any]]) -> None:
    names = started("defaults.py")

    def row(method: str, variant: str, task: str, knn: float) -> dict[str, Any]:
        scores = {kind: {"kNN": {"accuracy": 0.5}} for kind in ("untrained", "raw_pixels", "simple_statistics")}
        key = {"method": method, "variant": variant, "task": task, "seed": 0, "pictures": 0, "length": "3m", "cores": 1}
        verdict = {"helped": knn > 0.7} | ({"linear": {"helped": True}} if method == "moco" else {})
        both = {"kNN": {"accuracy": knn}, "linear": {"accuracy": knn / 2}}
        return {**key, "scores": {**scores, "encoder": both}, "verdict": verdict}

    rows = [row("moco", "own", "elpv", 0.6), row("simclr", "own", "elpv", 0.8), row("moco", "gentle", "elpv", 0.7)]
    rows += [row("moco", "own", "terrain", 0.5), row("simclr", "own", "terrain", 0.6)]
    rows[1]["curve"] = [(0.8, 0.525), (90.02, 0.55)]
    lines = names["table"]({"rows": rows}).splitlines()
    assert "| `simclr` | own | elpv | 0 | 0.0: 0.525, 1.5: 0.550 |" in lines
    assert lines[4] == "| `simclr` | 0.800 | 0.600 | 1.0 | 1 of 2 |  |"
    assert lines[5] == "| `moco` | 0.600 | 0.500 | 2.0 | 0 of 2 | 2 of 2 |"
    assert "| `moco` | gentle | +0.100 | +0.100 to +0.100 | +0.050 | +0.050 to +0.050 | 1 | 1 |" in lines
    assert names["asks"]("moco", "gentle") == ["--views", "moco-gentle"]
    assert names["asks"]("rotation", "gentle") is names["asks"]("byol", "temperature 0.1") is None
    assert names["asks"]("beit", "published") is None, "its own are the published ones"
    published = names["asks"]("rotation", "published")
    assert published[:6] == ["--encoder", "resnet18", "--batch", "128", "--lr", "0.1"]
    assert "optimizer=sgd" in published
    assert {"warmup=0.05", "clip=10.0"} < set(names["asks"]("vdvs", "published")), "10 of 200 epochs"
    assert names["asks"]("rotation", "quick") is None, "its own is the quick one"
    assert {"resnet10t", "optimizer=adamw", "clip=null"} < set(names["asks"]("mae", "quick"))


def test_a_variant_of_a_long_run_has_the_views_of_the_methods_own(started: Callable[..., dict[str, Any]]) -> None:
    """Else each would search for some, and the difference would be that of the views as well."""
    names = started("defaults.py")
    key = {"task": "elpv", "pictures": 0, "method": "simclr", "seed": 0, "length": "10m", "variant": "batch 64"}
    own = key | {"variant": "own", "recipe": {"augmentation": "simclr-turns"}}

    def beside(flags: list[str], rows: list[dict[str, Any]], **changes: str) -> list[str]:
        return names["beside"](key | changes, flags, rows)

    assert beside(["--batch", "64"], [own]) == ["--batch", "64", "--views", "simclr-turns"]
    assert beside([], [own | {"seed": 1}]) == ["--views", "simclr"], "its own is not made, and nothing is searched for"
    assert beside([], [own], length="2m") == beside([], [own], variant="own") == []
    assert beside([], [own], method="rotation") == []
    assert beside(["--views", "weak"], [own]) == ["--views", "weak"]


def test_what_is_compared_with_the_search_does_not_search(
    started: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And a refusal costs its own row, which the table tells."""
    names, asked = started("view_search.py"), list[Any]()

    def train(*given: Any, **options: Any) -> None:
        asked.append(options["views"])
        raise RecipeError("there is\n no room")

    monkeypatch.setattr("selfsight.train", train)
    quality = started("quality.py")
    make = quality["attempted"](lambda key: [names["effect"](Namespace(data=tmp_path, threads=1), key)])
    key = {"task": "elpv", "method": "byol", "length": "10m", "arm": "own", "seed": 0}
    rows = [key | one for arm in ("own", "search") for one in make(key | {"arm": arm})]
    assert asked == ["simclr", "search"], "BYOL's own views up to 96 px"
    assert names["table"]({"rows": rows}) == "* elpv, byol, 10m, own: there is no room"
    assert started("dcl.py")["table"]({"rows": [row_of_dcl | rows[0]]}).endswith("dcl: there is no room")
    assert "there is no room" in started("beside_lightly.py")["table"]({"rows": [row_of_dcl | rows[0] | {"images": 9}]})

    def stopped(key: dict[str, Any]) -> list[dict[str, Any]]:
        raise Interrupted("stopped", 2)

    with pytest.raises(Interrupted):
        quality["attempted"](stopped)(key)


def test_runs_of_other_lengths_and_seeds_are_kept_apart(started: Callable[..., dict[str, Any]]) -> None:
    names = started("quality.py")
    score = {name: {"accuracy": 0.5, "interval": [0.4, 0.6]} for name in names["MEASURES"]}
    row = {"task": "elpv", "method": "moco", "sizes": {"train": 9, "test": 9, "majority": 0.5}, "minutes": 1.0}
    row |= {"scores": dict.fromkeys(names["ROWS"], score), "recipe": {"size": 32, "batch": 8, "steps": 9}}
    row |= {"verdict": {"sentence": "Helped."}}
    rows = [row | {"length": length, "seed": seed} for length, seed in (("2m", 0), ("2m", 1), ("10m", 0))]
    rows[1]["scores"] = row["scores"] | {"encoder": {name: one | {"accuracy": 0.6} for name, one in score.items()}}
    shown = names["table"]({"rows": rows})
    assert shown.count("defective?; 2m**") == shown.count("defective?; 10m**") == 1
    assert "| `moco`, seed 1 | 0.600 (" in shown
    assert shown.count("| raw pixels | ") == 2, "the same for both seeds"


def test_a_card_tells_what_was_refused(started: Callable[..., dict[str, Any]]) -> None:
    names = started("cards.py")
    scores = {kind: {one: {"accuracy": 0.5} for one in names["MEASURES"]} for kind in ("encoder", *names["BESIDE"])}
    row = {"task": "elpv", "method": "moco", "length": "2m", "seed": 0, "cores": 1, "scores": scores}
    row |= {"recipe": {"encoder": "resnet10t"}, "images_per_second": 9.0, "memory": 1e9}
    row["verdict"] = {"helped": False, "linear": {"helped": True}}
    refused = {"task": "elpv", "method": "colorization", "length": "2m", "seed": 0, "refused": "it is grey"}
    names["check"]([row, refused])
    text = names["table"]({"rows": [row, refused, refused | {"seed": 1}]})
    assert "2m of 1 core each, 1 seed**" in text
    assert "| `moco` | 0.500 | 0.500 | 0.500 | 9 | 1.0 | 0 of 1 | 1 of 1 |" in text
    assert text.endswith("* `colorization`, elpv: it is grey")
    assert names["card"]({"rows": [row, refused]}, "colorization") == "* `colorization`, elpv: it is grey"
    assert "|\n\nNot above the untrained network with any seed, by kNN or linear probe: `moco`.\n" in text
    better = {"seed": 1, "scores": scores | {"encoder": scores["encoder"] | {"linear": {"accuracy": 0.6}}}}
    assert "Not above" not in names["card"]({"rows": [row, row | better]}, "moco")


def test_what_a_method_refuses_costs_its_own_row(started: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Its sentence is kept and told, and it is asked again, which others are not."""
    names = started("defaults.py")
    names["VARIANTS"]["new"] = ["--colour", "3"]
    key = {"task": "terrain", "pictures": 0, "method": "simclr", "variant": "new", "length": "1m"}
    key |= {"cores": 1, "seed": 0}
    refused = names["row"](Namespace(data=tmp_path), key)
    assert refused["refused"].startswith("Unknown option: --colour.")
    lines = names["table"]({"rows": [key | {"seed": seed} | refused for seed in (0, 1)]}).splitlines()
    assert lines.count(f"* `simclr`, new, terrain: {refused['refused']}") == 1
    asked, made = Namespace(table=False, json=tmp_path / "a.json"), list[int]()
    results = {"rows": [{"seed": 0, "refused": "full"}, {"seed": 1, "kNN": 0.5}]}
    filled = started("quality.py")["filled"]
    filled(asked, results, ({"seed": seed} for seed in range(3)), lambda key: made.append(key["seed"]) or [{"kNN": 1}])
    assert made == [0, 2]
    assert [(one["seed"], one["kNN"]) for one in results["rows"]] == [(1, 0.5), (0, 1), (2, 1)]


def test_what_is_planted_in_modern_methods_is_what_its_name_says(
    started: Callable[..., dict[str, Any]], photos: Path
) -> None:
    faults, scanned = started("collapse.py")["FAULTS"], everything_scanned(photos)
    siamese, dino = made("simsiam"), made("dino")
    faults["no predictor"].plant(Namespace(method=siamese))
    rows = siamese.project(batch_of(siamese, scanned, 4))
    assert torch.equal(rows["projection"], rows["prediction"])
    faults["no centre, nothing sharpened"].plant(Namespace(method=dino))
    batch = batch_of(dino, scanned, 4)
    dino.on_step_end({**dino.project(batch), **dino.targets(batch)}, batch)
    assert not dino.centre.any()
    recipe = faults["no centre, nothing sharpened"].recipe(recipe_of("dino", photos, scanned))
    alike = recipe.settings["temperature"] == recipe.settings["teacher_temperature"] == dino.teacher_temperature
    assert alike, "from the first step on: the teacher's begins at 0.04"
    assert "teacher_momentum" not in faults["no predictor"].recipe(recipe_of("simsiam", photos, scanned)).settings


def test_scores_that_rank_views_as_labels_do_and_those_that_do_not(started: Callable[..., dict[str, Any]]) -> None:
    """One score says what the test part says, one the opposite, one in the mean over the seeds; a run gained."""
    names = started("view_search.py")
    rows = [{"views": str(n), "kNN": n / 10, "labels": n / 9, "rankme": -float(n)} for n in range(8)]
    found = [
        {"task": "elpv", "images": 64, "seed": seed, "rows": [one | {"few": few(n)} for n, one in enumerate(rows)]}
        for seed, few in enumerate((lambda n: 2.0 * n, lambda n: -float(n)))
    ]
    found[1]["rows"][3] = {"views": "3"}
    found[0]["rows"][3]["labels"] = -9.0
    found += [{"task": "elpv", "images": 8, "seed": 0, "rows": [one | {"labels": -one["kNN"]} for one in rows]}]
    key = {"task": "elpv", "method": "simclr", "length": "10m", "views": "weak"}
    runs = [knn_row(0, [1] * 9 + [0], **key, arm="search"), knn_row(0, [1, 0] * 5, **key, arm="own")]
    shown = names["table"]({"agreement": found, "rows": [one | {"task": "elpv"} for one in runs]})
    assert "| score | elpv, 64 pictures | elpv, 8 pictures |" in shown
    assert "| labels, at most 3,000 | +1.00 | -1.00 | 1 of 2 |" in shown
    assert "| labels, 100 | +1.00 |  | 1 of 1 |" in shown
    assert "| RankMe | -1.00 | -1.00 | 0 of 2 |" in shown
    assert "diverged: 3 on elpv." in shown
    assert "| elpv | simclr | 10m | `weak` | 0.900 (0.900 to 0.900) | 0.500 (0.500 to 0.500) | +0.400 (" in shown


def test_the_cookbooks_lines_are_the_figures_of_others(started: Callable[..., dict[str, Any]]) -> None:
    names = started("cookbook.py")
    row = {"encoder": "resnet18", "size": 64, "batch": 128, "threads": 2}
    row |= {"images_per_second": {"ours": {"median": 100.0}}}
    others = [row | {"size": 32}, row | {"encoder": "x"}]
    assert "| 20,000 | 3.0 times | 18.0 times | 144.0 times |" in names["seen"]({"rows": [*others, row]})

    def run(method: str, knn: float, helped: bool) -> dict[str, Any]:
        found = {"encoder": knn, "untrained": 0.2, "raw_pixels": 0.5, "simple_statistics": 0.4}
        scores = {name: {"kNN": {"accuracy": value}} for name, value in found.items()}
        few = {shots: {"interval": [knn - 0.55, 0.3]} for shots in ("1", "5", "10")}
        facts = {"task": "elpv", "method": method, "sizes": {"train": 90}, "recipe": {"steps": 10, "batch": 9}}
        return {**facts, "scores": scores, "verdict": {"helped": helped, "against": "raw_pixels", "few": few}}

    results = {"rows": [run("moco", 0.5, False), run("simclr", 0.6, True)]}
    shown = names["worth"](results)
    assert "| 90 | 90 | 0.600 (`simclr`) | 0.500 (raw pixels) | 1 of 2 runs |" in shown
    assert shown.endswith("Shown to help in 1 of 2 runs. The best without training: raw pixels in 2.")
    assert names["few"](results).endswith("| 1 of 2 runs | 1 of 2 runs | 1 of 2 runs |")
