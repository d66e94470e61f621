"""From the end of a training to the vectors that people get: whitened by training pictures, everywhere alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_pictures

import selfsight
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.embedding.embed import embed, vectors_of
from selfsight.errors import MissingError
from selfsight.evaluation import classifier, labelled
from selfsight.nn import families
from selfsight.nn.encoder import Encoder
from selfsight.nn.whitening import FILE, Whitening
from selfsight.searching.index import Index
from selfsight.training import session
from selfsight.training.request import Request


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> selfsight.Run:
    """A short training on more pictures than the vectors have dimensions."""
    home = tmp_path_factory.mktemp("whitened")
    asked = Request(
        data=[str(write_pictures(home / "pictures", 160, 32))], encoder="test_resnet", size=32, batch=16,
        length="2steps", threads=1, precision="fp32", device="cpu",
    )  # fmt: skip
    session.train(asked, home / "run", workers=0, quiet=True)
    return selfsight.Run(home / "run")


def test_a_training_ends_with_a_whitening_of_its_training_pictures(run: selfsight.Run) -> None:
    encoder, manifest = run.embedder(), Manifest.load(run.folder / "manifest.parquet")
    assert encoder.whitening
    pictures = pictures_of(run.recipe, manifest)
    plain, _ = embed(encoder, pictures, manifest.train_rows(), size=32, plain=True)
    again = Whitening.fit(plain)
    assert again
    assert np.abs(again(plain) - encoder.whitening(plain)).max() < 1e-3
    white, _ = embed(encoder, pictures, manifest.train_rows(), size=32)
    assert np.array_equal(white, encoder.whitening(plain))
    assert families.load(run.folder / "untrained").whitening is None


def test_the_same_command_again_writes_the_same(run: selfsight.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on another processor, which would fit other last bits."""
    before = (run.folder / "encoder" / FILE).read_bytes()
    monkeypatch.setattr(session, "whitening_of", lambda *_: Whitening(np.zeros(320), np.eye(320)))
    session.train(Request(data=[]), run.folder, workers=1, quiet=True)
    assert (run.folder / "encoder" / FILE).read_bytes() == before


def test_index_and_query_are_whitened_alike(run: selfsight.Run) -> None:
    index = Index.open(run.folder)
    assert index.embed(index.paths[3]) == pytest.approx(index.vector(3), abs=1e-4)
    encoder = run.embedder()
    view = torch.from_numpy(index.view(index.paths[3])[None])
    assert encoder.whitening
    assert encoder.whitening(encoder(view).detach().numpy())[0] == pytest.approx(index.vector(3), abs=1e-4)


def test_an_export_has_the_plain_network_and_a_graph_that_whitens(run: selfsight.Run, tmp_path: Path) -> None:
    import onnxruntime

    selfsight.export(run.folder, out=tmp_path / "export", format="onnx", preprocess=True)
    session_of = onnxruntime.InferenceSession(tmp_path / "export" / "model.onnx")
    index, encoder = Index.open(run.folder), run.embedder()
    view = index.view(index.paths[5])[None].repeat(2, axis=0)
    assert session_of.run(None, {"pixels": view})[0][0] == pytest.approx(index.vector(5), abs=1e-3)
    plain = vectors_of(Encoder.load(tmp_path / "export"), torch.from_numpy(view))
    assert plain == pytest.approx(vectors_of(encoder, torch.from_numpy(view), plain=True), abs=1e-5)
    card = (tmp_path / "export" / "README.md").read_text()
    assert "(vector - mean) @ matrix" in card
    white = Whitening.load(tmp_path / "export" / FILE, encoder.width)
    assert white
    assert white(plain)[0] == pytest.approx(index.vector(5), abs=1e-3)


def test_a_classifier_learns_from_plain_vectors_and_is_given_whitened_ones(run: selfsight.Run) -> None:
    encoder, manifest = run.embedder(), Manifest.load(run.folder / "manifest.parquet")
    pictures, known = pictures_of(run.recipe, manifest), manifest.train_rows()
    plain, _ = embed(encoder, pictures, manifest.every_row(), size=32, plain=True)
    labels, groups = manifest.labels[known], manifest.groups[known]
    own = classifier.fit(plain[known], labels, groups, manifest.classes)
    model = labelled.learn({"encoder": encoder}, pictures, manifest, ~manifest.test, size=32)
    index = Index.open(run.folder)
    assert model.probabilities(np.asarray(index.vectors)) == pytest.approx(own.probabilities(plain), abs=0.01)


def test_evaluate_tells_in_which_space_it_compares(run: selfsight.Run) -> None:
    found = selfsight.evaluate(run.folder)
    assert any("The encoder's vectors are whitened before they are compared" in note for note in found["notes"])
    json.dumps(found)


def test_a_damaged_whitening_is_refused(run: selfsight.Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder / "encoder", tmp_path / "encoder")
    content = bytearray((tmp_path / "encoder" / FILE).read_bytes())
    content[-9] ^= 1
    (tmp_path / "encoder" / FILE).write_bytes(content)
    with pytest.raises(MissingError, match=f"{FILE} does not match its digest"):
        families.load(tmp_path / "encoder")
