"""The main job through the real command line: look, train, go on, evaluate, embed, and the sentences for bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import contract_driver
import numpy as np
import pyarrow.parquet as parquet
import pytest
import timm
import torch
from conftest import write_pictures
from mortal import FORKED, joined

import selfsight
from selfsight.data.manifest import Manifest

TINY = ["--encoder", "test_resnet", "--size", "32", "--batch", "16", "--precision", "fp32", "--threads", "1"]
SCORES = {"knn", "linear", "label_free"}


@dataclass(frozen=True)
class Done:
    """What a command said."""

    stdout: str
    stderr: str


def forked(words: list[str], cwd: Path, files: list[Path]) -> None:
    """In a process that is forked from one that has imported everything: `selfsight WORDS`, its words into files."""
    os.chdir(cwd)
    for stream, path in zip((sys.stdout, sys.stderr), files, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    contract_driver.run(words, None)


def command(*arguments: object, cwd: Path, code: int = 0) -> Done:
    """`selfsight ARGUMENTS`; its exit code is checked."""
    with TemporaryDirectory() as place:
        files = [Path(place) / name for name in ("stdout", "stderr")]
        child = FORKED.Process(target=forked, args=([str(word) for word in arguments], cwd, files))
        child.start()
        ended = joined(child)
        done = Done(*(file.read_text() for file in files))
    assert ended == [code], done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve steps, in a folder that the tests share: by a process of its own, import by import."""
    home = tmp_path_factory.mktemp("home")
    words = [sys.executable, "-m", "selfsight", "train", str(photos), *TINY, "--for", "12steps", "--out", "run"]
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, timeout=240, check=True)
    assert "as asked" in done.stdout
    assert "as measured" in done.stdout
    assert "step 12/12" in done.stderr  # no terminal, so plain lines
    return home / "run"


def test_inspect_finds_out_and_writes_only_to_out(photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    shown = command("inspect", photos, "--out", "found", cwd=tmp_path).stdout
    assert "64" in shown
    assert "china" in shown
    found = json.loads((tmp_path / "found" / "inspection.json").read_text())
    assert found["pictures"] == 64
    assert found["classes"] == {"china": 32, "flower": 32}
    assert (tmp_path / "found" / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(photos.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_the_run_folder_holds_what_it_promises(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    promised = {"recipe.yaml", "manifest.parquet", "metrics.jsonl", "timing.jsonl", "views.png", "bad_files.csv"}
    assert promised | {"checkpoints", "untrained", "encoder", "report.html"} <= names
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "loss" in line} == set(range(1, 13))
    assert lines[0]["step"] == 0  # the untouched encoder is measured first
    assert "quality" in lines[0]
    assert "simclr" in (trained / "report.html").read_text()


def test_timm_loads_the_encoder_in_one_line(trained: Path) -> None:
    encoder = timm.create_model(f"local-dir:{trained / 'encoder'}", pretrained=True).eval()
    own = selfsight.Run(trained).encoder()
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(own.normalised(pixels)), own(pixels), rtol=0, atol=0)
    assert timm.data.resolve_model_data_config(encoder)["interpolation"] == "bilinear", "as our own views are resized"
    assert "num_classes" not in json.loads((trained / "encoder" / "config.json").read_text())["model_args"]


def test_the_same_command_again_is_at_its_end(trained: Path, photos: Path) -> None:
    weights = (trained / "encoder" / "model.safetensors").read_bytes()
    command("train", photos, *TINY, "--for", "12steps", "--out", "run", cwd=trained.parent)
    again = command("train", "--resume", "run", cwd=trained.parent).stderr
    assert "step 12/12" in again
    assert (trained / "encoder" / "model.safetensors").read_bytes() == weights


def test_a_run_that_is_to_go_on_differently_names_the_difference(trained: Path, photos: Path, tmp_path: Path) -> None:
    home = trained.parent
    said = command("train", photos, *TINY, "--for", "12steps", "--lr", "0.5", "--out", "run", cwd=home, code=2).stderr
    assert "lr was" in said
    assert "--out" in said
    grown = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(grown / "china" / "000.png", grown / "china" / "new.png")
    said = command("train", grown, "--resume", trained, cwd=home, code=2).stderr
    assert "new.png" in said
    assert "Traceback" not in said


def test_evaluate_writes_the_numbers_with_all_baselines(trained: Path) -> None:
    shown = command("evaluate", "run", "--json", "new/numbers.json", cwd=trained.parent).stdout
    found = json.loads((trained.parent / "new" / "numbers.json").read_text())
    assert found.keys() >= SCORES | {"baselines", "verdict"}
    assert set(found["baselines"]) == {"untrained", "raw_pixels", "simple_statistics"}
    for row in (found, *found["baselines"].values()):
        low, high = row["knn"]["interval"]
        assert 0 <= low <= row["knn"]["accuracy"] <= high <= 1
        assert "accuracy" in row["linear"]
    assert {"rankme", "uniformity", "mean_cos", "std", "alignment"} <= set(found["label_free"])
    assert found["verdict"]["sentence"] in " ".join(shown.split())
    assert "simple statistics" in shown
    assert "Nearest neighbours" in (trained / "report.html").read_text()


def test_embed_writes_vectors_that_can_be_mapped(trained: Path, photos: Path) -> None:
    command("embed", "run", photos, "--out", "vectors", cwd=trained.parent)
    vectors = np.load(trained.parent / "vectors" / "embeddings.npy", mmap_mode="r")
    table = parquet.read_table(trained.parent / "vectors" / "embeddings.parquet")
    assert vectors.shape == (64, selfsight.Run(trained).encoder().width)
    assert vectors.dtype == np.float32
    assert table.column_names == ["path", "label", "file", "digest", "length", "row"]
    assert table["label"].to_pylist()[0] == "china"
    command("embed", "run", photos, "--out", "patches", "--patches", cwd=trained.parent)
    assert np.load(trained.parent / "patches" / "embeddings.npy").ndim == 3


def test_sets_of_different_tasks_train_together(photos: Path, tmp_path: Path) -> None:
    """Labelled and unlabelled, grey and colour: labels of two sources are different ones unless they are shared."""
    other = write_pictures(tmp_path / "other", count=24)
    third = write_pictures(tmp_path / "third", count=24)
    (tmp_path / "plain.txt").write_text("".join(f"{path}\n" for path in sorted((third / "flower").iterdir())))
    sources = [photos, other, tmp_path / "plain.txt"]
    options = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1}
    run = selfsight.train(sources, **options, length="4steps", out=tmp_path / "a", quiet=True)
    assert run.metrics["step"].to_pylist()[-1] == 4
    manifest = Manifest.load(tmp_path / "a" / "manifest.parquet")
    assert len(manifest.classes) == 4
    assert (manifest.labels == -1).sum() > 0


def test_python_gives_the_same_as_the_command_line(trained: Path, photos: Path, tmp_path: Path) -> None:
    options = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1}
    run = selfsight.train(photos, **options, length="12steps", out=tmp_path / "run", quiet=True)
    ours, theirs = run.folder / "encoder" / "model.safetensors", trained / "encoder" / "model.safetensors"
    assert ours.read_bytes() == theirs.read_bytes()
    assert run.metrics.num_rows >= 12
    assert run.evaluate()["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere"], "does not exist"),
        (["train", "PHOTOS", "--method", "simclt"], "Did you mean 'simclr'?"),
        (["train", "PHOTOS", "--set", "temprature=1"], "Did you mean 'temperature'?"),
        (["train", "PHOTOS", "--encoder", "resnet81"], "resnet18"),
        (["train", "PHOTOS", "--batch", "500"], "--batch between 2 and"),
        (["train", "PHOTOS", "--out", "."], "name a folder that is new or empty"),
        (["evaluate", "."], "is not a run"),
    ],
)
def test_bad_input_gets_one_sentence(photos: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = command(*(photos if word == "PHOTOS" else word for word in arguments), cwd=tmp_path, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"
