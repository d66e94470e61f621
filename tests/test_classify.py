"""Classify by the command line: own labels and others, odd names, files that cannot be read, and refusals."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import softmax
from test_main_job import TINY, command

import selfsight
from selfsight import cli
from selfsight.data.manifest import Manifest
from selfsight.embedding import store

ODD = ['two\nlines, "quoted".png', "\u202egnp.تصوير.png", "--help.png", "[red].png"]


Said = Callable[..., str]


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run on labelled photos."""
    folder = tmp_path_factory.mktemp("classify")
    assert cli.main(["train", str(photos), *TINY, "--for", "2steps", "--out", str(folder / "run"), "--quiet"]) == 0
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """The run, without a classifier, at tmp_path / "run"."""
    return Path(shutil.copytree(home / "run", tmp_path / "run"))


@pytest.fixture
def classify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """`selfsight classify run ARGUMENTS` in tmp_path: what it printed; its exit code is checked."""
    monkeypatch.chdir(tmp_path)

    def said(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        done = cli.main(["classify", "run", *map(str, arguments)])
        shown = capsys.readouterr()
        assert done == code, shown
        return shown.err if code else shown.out

    return said


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def table(photos: Path, file: Path, label: str, rows: slice = slice(None), split: str = "train") -> Path:
    """A table of some of the photos, all with one label, or with the one of their folder."""
    names = sorted(photos.rglob("*.png"))[rows]
    lines = [f"{path},{label or path.parent.name},{split}" for path in names]
    file.write_text("\n".join(["path,kind,split", *lines]))
    return file


def test_the_labels_of_the_run_name_new_pictures(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    shown = classify(photos, "--out", "found.csv")
    rows = rows_of(tmp_path / "found.csv")
    assert [row["path"] for row in rows] == sorted(str(path.relative_to(photos)) for path in photos.rglob("*.png"))
    right = [row["path"].startswith(row["prediction"]) for row in rows]
    assert np.mean(right) > 0.9
    for row in rows:
        assert {row["prediction"], row["second"]} == {"china", "flower"}
        assert float(row["confidence"]) + float(row["second_confidence"]) == pytest.approx(1, abs=1e-5)
        assert (row["third"], row["reason"]) == ("", "")
    facts = json.loads((run / "classifier" / "config.json").read_text())
    manifest = Manifest.load(run / "manifest.parquet")
    assert facts["learned_from"] == len(manifest.train_rows())
    assert facts["held_out"]["pictures"] == len(manifest.test_rows())
    assert facts["encoder"] == store.digest(run / "encoder")
    for said in ("the same network, untrained", "always the commonest class", "calibration error", "fitted now"):
        assert said in shown


def test_the_classifier_is_one_affine_map_on_embeddings(
    run: Path, photos: Path, tmp_path: Path, classify: Said
) -> None:
    classify(photos, "--out", "found.csv")
    selfsight.embed(run, photos, out=tmp_path / "vectors")
    tensors = load_file(run / "classifier" / "model.safetensors")
    classes = json.loads((run / "classifier" / "config.json").read_text())["classes"]
    chances = softmax(np.load(tmp_path / "vectors" / "embeddings.npy") @ tensors["weight"] + tensors["bias"], axis=1)
    rows = rows_of(tmp_path / "found.csv")
    assert [classes[best] for best in chances.argmax(axis=1)] == [row["prediction"] for row in rows]
    np.testing.assert_allclose(chances.max(axis=1), [float(row["confidence"]) for row in rows], atol=1e-3)


def test_it_is_used_again_for_the_same_labels(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    classify(photos, "--out", "a.csv")
    written = (run / "classifier" / "model.safetensors").stat().st_mtime_ns
    shown = classify(photos, "--out", "b.csv")
    assert "used again" in shown
    assert (run / "classifier" / "model.safetensors").stat().st_mtime_ns == written
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    others = table(photos, tmp_path / "others.csv", "", slice(0, 50))
    flags = ("--labels", others, "--label-column", "kind")
    assert "fitted now" in classify(photos, *flags, "--out", "c.csv")
    found = selfsight.Run(run).classify(photos, labels=others, label_column="kind", out=tmp_path / "d.csv")
    assert found["reused"] is True
    assert selfsight.classify(run, photos, out=tmp_path / "e.csv")["reused"] is False
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "e.csv").read_bytes()


def test_labels_that_the_encoder_has_seen_are_told(run: Path, photos: Path, classify: Said) -> None:
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(re.sub(r"^searched: .*$", "searched: {simclr: 0.5}", recipe, flags=re.MULTILINE))
    assert "training pictures chose views" in classify(photos, "--out", "found.csv")


def test_odd_names_and_files_that_cannot_be_read(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    picture = (photos / "china" / "000.png").read_bytes()
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ODD:
        (mine / name).write_bytes(picture)
    (mine / "cut.png").write_bytes(picture[: len(picture) // 2])
    (mine / "empty.png").write_bytes(b"")
    shown = classify(mine, "--out", "found.csv")
    rows = {row["path"]: row for row in rows_of(tmp_path / "found.csv")}
    assert set(rows) == {*(name.replace("--help", "./--help") for name in ODD), "cut.png", "empty.png"}
    assert {row["prediction"] for name, row in rows.items() if name not in ("cut.png", "empty.png")} == {"china"}
    for name in ("cut.png", "empty.png"):
        assert rows[name]["prediction"] == rows[name]["confidence"] == ""
        assert rows[name]["reason"]
    assert "could not be read\t2" in shown


def test_labels_of_one_class_are_warned_of(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    table(photos, tmp_path / "one.csv", "thing")
    flags = ("--labels", "one.csv", "--label-column", "kind", "--out", "found.csv")
    shown = classify(photos, *flags)
    assert "Only 'thing' has labels" in shown
    assert "How good this classifier is cannot be said" in shown
    assert {(row["prediction"], row["confidence"]) for row in rows_of(tmp_path / "found.csv")} == {
        ("thing", "1.000000")
    }


def test_without_test_pictures_a_part_is_held_out(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    table(photos, tmp_path / "every.csv", "")
    flags = ("--labels", "every.csv", "--label-column", "kind", "--out", "found.csv")
    shown = classify(photos, *flags)
    assert "There are no labelled test pictures" in shown
    assert "The encoder was trained on" in shown
    assert json.loads((run / "classifier" / "config.json").read_text())["learned_from"] == 64


def test_a_run_without_labels_needs_them_once(photos: Path, tmp_path: Path, classify: Said) -> None:
    """Afterwards the classifier goes where the run goes, and the labels need not."""
    (tmp_path / "plain.txt").write_text("".join(f"{path}\n" for path in sorted(photos.rglob("*.png"))))
    assert cli.main(["train", "plain.txt", *TINY, "--for", "1steps", "--out", "run", "--quiet"]) == 0
    said = classify(photos, "--out", "a.csv", code=2)
    assert "no labels to learn from; give labelled ones with --labels" in said
    classify(photos, "--labels", photos, "--out", "a.csv")
    assert "used again" in classify(photos, "--out", "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_another_encoders_classifier_is_refused(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    classify(photos, "--out", "a.csv")
    shutil.copytree(run / "untrained", run / "encoder", dirs_exist_ok=True)
    said = classify(photos, "--out", "b.csv", code=2)
    assert "belongs to another encoder than this run's; remove that folder and classify again" in said
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["PHOTOS", "--out", "."], "is a folder; name a file"),
        (["nowhere", "--out", "a.csv"], "does not exist"),
        (["PHOTOS", "--labels", "nowhere", "--out", "a.csv"], "does not exist"),
        (["PHOTOS", "--labels", "PHOTOS", "--label-column", "kind", "--out", "a.csv"], "no columns to choose"),
        (["PHOTOS", "--labels", "blank.csv", "--out", "a.csv"], "none of the pictures of --labels has a label"),
        (["PHOTOS", "--labels", "test.csv", "--out", "a.csv"], "every labelled picture is in the test part"),
        (["PHOTOS"], "--out"),
    ],
)
def test_bad_input_gets_one_sentence(
    run: Path, photos: Path, tmp_path: Path, classify: Said, arguments: list[str], said: str
) -> None:
    names = sorted(photos.rglob("*.png"))
    (tmp_path / "blank.csv").write_text("\n".join(["path,label", *(f"{path}," for path in names)]))
    (tmp_path / "test.csv").write_text("\n".join(["path,label,split", *(f"{path},a,test" for path in names)]))
    words = [photos if word == "PHOTOS" else word for word in arguments]
    error = classify(*words, code=2)
    assert said in error
    assert error.count("\n") == 1
    assert not (run / "classifier").exists()
    assert not (tmp_path / "a.csv").exists()


def test_an_unfinished_run_is_refused(run: Path, photos: Path, classify: Said) -> None:
    shutil.rmtree(run / "encoder")
    assert "is not trained to its end" in classify(photos, "--out", "a.csv", code=2)


def test_a_process_of_its_own_does_the_same(run: Path, photos: Path, tmp_path: Path, classify: Said) -> None:
    done = command("classify", "run", photos, "--out", "a.csv", cwd=tmp_path)
    assert "fitted now" in done.stdout
    assert "used again" in classify(photos, "--out", "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
