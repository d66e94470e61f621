"""Documents from beginning to end: train, go on, evaluate, embed; what is for pictures says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from selfsight import cli
from selfsight.api import Run
from selfsight.errors import RunError
from selfsight.nn.words import Words

QUICK = (
    "--method context --encoder words256 --for 12steps --batch 8 --size 64 --threads 1 --precision fp32 --device cpu"
)


def selfsight(*words: object) -> int:
    return cli.main([part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])])


@pytest.fixture(scope="module")
def run(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "run"
    assert selfsight("train", documents, QUICK, "--quiet --out", folder) == 0
    assert selfsight("evaluate", folder) == 0
    return folder


def test_the_same_command_goes_on_and_another_method_does_not(
    run: Path, documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    assert selfsight("train", documents, QUICK, "--quiet --out", run) == 0
    assert selfsight("train --quiet --resume", run) == 0
    assert (run / "metrics.jsonl").read_bytes() == before
    lines = [json.loads(line) for line in before.decode().splitlines()]
    assert all({"perplexity", "unigram"} <= line.keys() for line in lines if "loss" in line)
    assert selfsight("train", documents, "--method context --set horizon=2 --quiet --out", run) == 2
    assert "horizon was 1 and is now 2" in capsys.readouterr().err


def test_what_it_learned_is_beside_a_bag_of_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((run / "evaluation.json").read_text())
    assert set(found["baselines"]) == {"untrained", "bag_of_words"}
    assert found["kind"] == "documents"
    assert found["perplexity"]["encoder"] > 1
    assert 1 < found["perplexity"]["unigram"] < 256
    assert found["verdict"]["against"] in found["baselines"]
    assert "picture" not in found["verdict"]["sentence"]
    page = (run / "report.html").read_text()
    assert 'class="page' in page
    assert "documents/s" in page
    assert "<img" not in page, "a document is no picture"
    assert not (run / "views.png").exists()


def test_the_untrained_network_knows_the_same_words(run: Path) -> None:
    trained, untrained = Words.load(run / "encoder"), Words.load(run / "untrained")
    assert trained.vocabulary == untrained.vocabulary
    assert len(trained.vocabulary) > 100
    assert not (trained.embedding.weight == untrained.embedding.weight).all()


def test_documents_become_vectors(run: Path, documents: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(documents / "beginning", mixed)
    (mixed / "broken.txt").write_bytes(b"\xff\xfe\0 no text")
    assert selfsight("embed", run, mixed, "--out", tmp_path / "vectors") == 0
    vectors = np.load(tmp_path / "vectors" / "embeddings.npy")
    assert vectors.shape == (32, 128)
    assert "not_text" in (tmp_path / "vectors" / "bad_files.csv").read_text()


def test_without_labels_one_half_finds_the_other(documents: Path, tmp_path: Path) -> None:
    assert selfsight("train", documents / "beginning", QUICK, "--quiet --out", tmp_path / "run") == 0
    found = Run(tmp_path / "run").evaluate()
    assert found["verdict"]["measure"] == "two_views"
    assert found["label_free"]["two_views"]["r_at_1"] > 0


def test_inspect_counts_documents(documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert selfsight("inspect", documents, "--out", tmp_path / "seen") == 0
    told = capsys.readouterr().out
    assert "documents\t64" in told
    assert "words\t" in told
    assert (
        not {"channels", "heights", "bits", "pictures"}
        & json.loads((tmp_path / "seen" / "inspection.json").read_text()).keys()
    )
    assert not (tmp_path / "seen" / "contact_sheet.png").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("train {documents} --method simclr --out {new}", "It holds documents, which other methods learn from"),
        ("train {photos} --method context --out {new}", "It holds pictures, which other methods learn from"),
        ("train {documents} --method context --encoder resnet18 --out {new}", "use --encoder words4096"),
        ("train {photos} --method simclr --encoder words64 --out {new}", "use --encoder resnet10t"),
        ("train {documents} --method context --pretrained --out {new}", "starts from random weights"),
        ("train {documents} --method context --batch 99 --out {new}", "training documents; use --batch"),
        ("train {same} --method context --for 2steps --encoder words64 --out {new}", "say one word only"),
        ("evaluate {run} {photos}", "holds no document"),
        ("evaluate {run} --pretrained resnet18", "compares encoders of pictures"),
        ("embed {run} {photos} --out {new}", "holds no document"),
        ("embed {run} {documents} --patches --out {new}", "has no patches"),
        ("browse {run} --export {new}", "is of documents, and browse shows pictures"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    given: str, sentence: str, run: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "same").mkdir()
    for number in range(12):
        (tmp_path / "same" / f"{number}.txt").write_text("yes " * (number + 6))
    places = {"documents": samples / "documents", "photos": samples / "pictures", "run": run, "new": tmp_path / "new"}
    assert selfsight(given.format(**places, same=tmp_path / "same")) == 2
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("selfsight: ")
    assert sentence in told


def test_commands_for_pictures_refuse_a_run_on_documents(run: Path) -> None:
    with pytest.raises(RunError, match="learned from documents, and this is for pictures"):
        Run(run).encoder()
    assert isinstance(Run(run).embedder(), Words)
