"""`evaluate --finetune` by its command: the table, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import selfsight
from selfsight import cli
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import format_of
from selfsight.evaluation import intervals
from selfsight.evaluation.task import Task
from selfsight.report import page
from selfsight.report.contents import read
from selfsight.training import finetune, label_shares
from selfsight.training.finetune import state_digest

TINY = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1, "length": "1steps"}


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> selfsight.Run:
    folder = tmp_path_factory.mktemp("finetuned")
    return selfsight.train(photos, **TINY, out=folder / "run", quiet=True)


def test_the_command_shows_the_table_and_goes_on(
    run: selfsight.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_digest(run.encoder())
    command = ["evaluate", str(run.folder), "--finetune-for", "4steps"]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "Fine-tuning: 14 trainings of 4 steps of 64 pictures" in said.err
    assert "this run, fine-tuned" in said.out
    assert "Starting from this run instead of from scratch: with 1 % of the labels (2)" in said.out
    assert "With all labels each start is trained once" in said.out
    first = json.loads((run.folder / "evaluation.json").read_bytes())["finetune"]
    assert [one["labels"] for one in first["shares"].values()] == [2, 6, 56]
    assert [one["draws"] for one in first["shares"].values()] == [3, 3, 1]
    for one in first["shares"].values():
        assert list(one["rows"]) == ["encoder", "untrained", "frozen", "raw_pixels", "simple_statistics"]
        for name, row in one["rows"].items():
            assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
            assert ("difference" in row) == (name != "encoder")
    assert state_digest(run.encoder()) == before

    trainings: list[float] = []
    real = finetune.train
    monkeypatch.setattr(finetune, "train", lambda *given: trainings.append(0) or real(*given))
    (run.folder / "finetune" / "encoder-6-1.json").unlink()
    assert cli.main(command) == 0
    again = json.loads((run.folder / "evaluation.json").read_bytes())["finetune"]
    assert len(trainings) == 1  # the one that was missing; how fast it is was known
    assert again["shares"] == first["shares"]
    assert "Fine-tuning" in page.page(read(run.folder))


def test_other_weights_are_trained_anew(run: selfsight.Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    encoder = run.encoder()
    manifest = run_manifest(run)
    options = {"length": "1steps"}
    first = label_shares.measured({"encoder": encoder, "untrained": encoder}, manifest, run.recipe, kept, **options)
    stamps = {file.name: file.read_bytes() for file in kept.iterdir()}
    for parameter in (other := run.encoder()).parameters():
        parameter.data += 0.01
    label_shares.measured({"encoder": other, "untrained": encoder}, manifest, run.recipe, kept, **options)
    changed = {file.name.split("-")[0] for file in kept.iterdir() if file.read_bytes() != stamps[file.name]}
    assert changed == {"encoder"}
    for one in first["shares"].values():  # the same start twice is the same training
        assert one["rows"]["untrained"]["difference"] == 0


@pytest.mark.parametrize("upgraded", ["selfsight", "torch", "timm"])
def test_another_version_trains_anew(upgraded: str, run: selfsight.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, encoder, rows = run_manifest(run), run.encoder(), np.arange(8)
    pictures = Pictures(manifest, format_of(run.recipe))
    lesson = finetune.Lesson(pictures, rows, manifest.labels[rows], size=32, steps=1, batch=8)
    fits = label_shares.Fits(pictures, rows, None, run.recipe, run.folder)  # type: ignore[arg-type]
    key = fits.key(encoder, lesson, rows, None)
    assert fits.key(encoder, lesson, rows, None) == key
    honest = label_shares.version
    monkeypatch.setattr(label_shares, "version", lambda name: "9.9" if name == upgraded else honest(name))
    assert fits.key(encoder, lesson, rows, None) != key


def test_fine_tuning_halves_pictures_as_training_does(
    run: selfsight.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, predict = list[int | None](), finetune.Tuned.predict
    monkeypatch.setattr(
        finetune.Tuned, "predict", lambda tuned, its, rows: seen.append(its.least) or predict(tuned, its, rows)
    )
    starts, halving = {"encoder": run.encoder(), "untrained": run.encoder()}, replace(run.recipe, least_side=16)
    label_shares.measured(starts, run_manifest(run), halving, tmp_path, length="1steps")
    assert set(seen) == {16}
    assert len(seen) > len(list(tmp_path.glob("*.json"))) == 14, "rates are chosen as well"


def run_manifest(run: selfsight.Run) -> label_shares.Manifest:
    return label_shares.Manifest.load(run.folder / "manifest.parquet")


def test_the_luck_of_draws_is_in_the_intervals() -> None:
    """Draws that disagree show little; where both sides have the same luck, their difference has none."""
    questions = np.arange(300)
    task = Task(questions, questions, questions, questions, questions, questions, ("a",), ())
    hard = np.random.default_rng(0).permutation(300)

    def right(*shares: float) -> np.ndarray:
        return np.stack([hard < 300 * share for share in shares])

    luck = label_shares.row(right(0.5, 0.5, 0.5), right(0.9, 0.6, 0.6), task)
    assert luck["difference"] == pytest.approx(0.2)
    assert luck["difference_interval"][0] < 0
    alike = label_shares.row(right(0.8, 0.5, 0.2), right(0.9, 0.6, 0.3), task)
    assert alike["difference"] == pytest.approx(0.1)
    assert 0 < alike["difference_interval"][0] < alike["difference_interval"][1] < 0.2
    assert alike["interval"][1] - alike["interval"][0] > 0.5
    once = label_shares.row(right(0.5), right(0.6), task)
    assert once["difference_interval"] == list(intervals.of_difference(right(0.6)[0], right(0.5)[0], questions))
    assert once["interval"] == list(intervals.of_share(right(0.5)[0], questions))


def test_few_test_groups_say_nothing() -> None:
    count = intervals.FEWEST - 1
    task = Task(
        np.arange(4),
        np.arange(9),
        np.arange(4) % 2,
        np.arange(9) % 2,
        np.arange(4),
        np.arange(9) % count,
        ("a", "b"),
        (),
    )
    assert label_shares.conclusion({}, task)["helped"] == {}


def test_minutes_are_the_same_steps_again(run: selfsight.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another speed would make other steps of them, and nothing that is finished would count."""
    first = run.evaluate(finetune=True, finetune_for="0.05m")["finetune"]
    monkeypatch.setattr(label_shares, "pace", lambda *asked: pytest.fail("it was measured"))
    monkeypatch.setattr(finetune, "train", lambda *asked: pytest.fail("it was trained"))
    again = run.evaluate(finetune=True, finetune_for="0.05m")["finetune"]
    assert again["shares"] == first["shares"]


def test_lengths(run: selfsight.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(run.folder), "--finetune-for", "soon"]) == 2
    assert "--finetune-for 'soon' is not a length" in capsys.readouterr().err


def test_no_labels_are_refused_first(
    run: selfsight.Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for number, file in enumerate(sorted(photos.rglob("*.png"))[:20]):
        shutil.copy(file, plain / f"{number}.png")
    assert cli.main(["evaluate", str(run.folder), str(plain), "--finetune"]) == 2
    assert (
        "--finetune has nothing to learn or to be measured on. The pictures have no labels." in capsys.readouterr().err
    )


def test_documents_are_refused(documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = {"method": "context", "encoder": "words256", "size": 16, "batch": 16, "length": "1steps", "threads": 1}
    run = selfsight.train(documents, **short, precision="fp32", out=tmp_path / "run", quiet=True)
    for flag, said in (
        (["--finetune"], "--finetune trains encoders of pictures, and this run learned from documents"),
        (["--dense", str(tmp_path)], "--dense asks where things are in pictures; this run learned from documents"),
    ):
        assert cli.main(["evaluate", str(run.folder), *flag]) == 2
        assert said in capsys.readouterr().err
