"""The main job on packed pictures, near and far: every number and byte as from the folder they were packed from."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import contract_driver
import numpy as np
import pytest
from mortal import FORKED, joined
from pyarrow import parquet
from ranged_server import Server, serving

from selfsight import checkpoints, cli
from selfsight.data import pack
from selfsight.data.manifest import Manifest

TINY = ["--encoder", "test_resnet", "--size", "32", "--batch", "16", "--precision", "fp32", "--threads", "1"]
TINY += ["--for", "12steps", "--quiet"]


@pytest.fixture(autouse=True)
def afresh(impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known from another test, and nobody waits long."""
    monkeypatch.chdir(tmp_path)


def selfsight(*words: object, code: int = 0) -> None:
    assert cli.main([str(word) for word in words]) == code, words


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures packed, and a run on the folder."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack.pack, "__kwdefaults__", {**pack.pack.__kwdefaults__, "most": 60_000})
        selfsight("pack", photos, folder / "served" / "set")
    selfsight("train", photos, *TINY, "--out", folder / "run")
    return folder


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    with serving(home / "served") as one:
        yield one


def killed(words: list[str], home: Path, cache: str) -> None:
    """In a forked process: the command, from that folder and with that cache, which dies after step 7."""
    os.chdir(home)
    os.environ["SELFSIGHT_CACHE"] = cache
    contract_driver.run(words, "7")


def trained(run: Path) -> dict[str, bytes]:
    """What must be the same to the last byte."""
    newest = checkpoints.latest(run / "checkpoints")
    assert newest is not None
    files = {name: (run / name).read_bytes() for name in ("encoder/model.safetensors", "metrics.jsonl")}
    return files | checkpoints.read(newest)[1]


def test_a_run_on_shards_is_the_run_on_the_folder(home: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "served" / "set", tmp_path / "elsewhere")
    selfsight("train", tmp_path / "elsewhere", *TINY, "--out", "run")
    assert trained(tmp_path / "run") == trained(home / "run")
    ours, theirs = (Manifest.load(one / "run" / "manifest.parquet") for one in (tmp_path, home))
    assert ours.difference(theirs) is None
    selfsight("train", photos, "--resume", "run", "--quiet")  # back to the folder: the same pictures


def test_a_killed_run_over_http_goes_on_with_the_very_next_picture(home: Path, server: Server, tmp_path: Path) -> None:
    words = ["train", f"{server.address}/set", *TINY, "--save-every", "0.001s", "--workers", "2", "--out", "run"]
    child = FORKED.Process(target=killed, args=(words, tmp_path, os.environ["SELFSIGHT_CACHE"]))
    child.start()
    assert joined(child) == [-signal.SIGKILL]
    before = len(server.ranges)
    selfsight(*words)
    assert trained(tmp_path / "run") == trained(home / "run")
    assert len(server.ranges) == before  # all pictures are on this machine by now


def test_a_network_that_fails_stops_cleanly_and_nothing_is_lost(
    home: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFSIGHT_CACHE", "/proc/nowhere")  # so that every picture is asked for, every time
    words = ["train", f"{server.address}/set", *TINY, "--save-every", "1h", "--workers", "1", "--out", "run"]
    from selfsight.training.loop import Trainer

    honest = Trainer.after

    def after(self: Trainer, step: int, signals: object) -> None:
        honest(self, step, signals)  # type: ignore[arg-type]
        server.failing = 10**6 * (step >= 4)

    monkeypatch.setattr(Trainer, "after", after)
    selfsight(*words, code=2)
    said = capsys.readouterr().err.strip()
    assert "cannot be reached" in said
    assert "\n" not in said
    (*_, last) = checkpoints.steps(tmp_path / "run" / "checkpoints")
    assert 4 <= last < 12
    server.failing = 0
    monkeypatch.setattr(Trainer, "after", honest)
    selfsight(*words)
    assert trained(tmp_path / "run") == trained(home / "run")


def test_every_command_reads_an_address(home: Path, server: Server, photos: Path, tmp_path: Path) -> None:
    address, run = f"{server.address}/set", tmp_path / "run"
    shutil.copytree(home / "run", run)
    for data, out in ((photos, "near"), (address, "far")):
        selfsight("embed", run, data, "--out", f"{out}-vectors")
        selfsight("evaluate", run, data, "--json", f"{out}.json")
        selfsight("classify", run, data, "--out", f"{out}.csv")
        selfsight("inspect", data, "--out", f"{out}-found")
    near, far = (np.load(tmp_path / f"{name}-vectors" / "embeddings.npy") for name in ("near", "far"))
    np.testing.assert_array_equal(near, far)
    tables = [parquet.read_table(tmp_path / f"{name}-vectors" / "embeddings.parquet") for name in ("near", "far")]
    assert tables[0].drop(["file"]).equals(tables[1].drop(["file"]))
    scores = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("near", "far")]
    assert [score["about"].pop("data") for score in scores] == [[str(photos)], [address]]
    assert scores[0] == scores[1]
    named = [(tmp_path / f"{name}.csv").read_text() for name in ("near", "far")]
    assert named[0] == named[1]
    found = [json.loads((tmp_path / f"{name}-found" / "inspection.json").read_text()) for name in ("near", "far")]
    assert {**found[0], "notes": 0, "sources": 0} == {**found[1], "notes": 0, "sources": 0}


def test_methods_are_compared_over_an_address(home: Path, server: Server, tmp_path: Path) -> None:
    options = ["--encoder", "test_resnet", "--size", "32", "--threads", "1", "--for", "2steps", "--quiet"]
    selfsight("compare", f"{server.address}/set", "--methods", "simclr,rotation", *options, "--out", "compared")
    found = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert found["failed"] == {}
    assert {"simclr", "rotation"} <= {row["name"] for row in found["rows"]}
