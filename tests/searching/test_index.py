"""An index: of a folder or of a run, the same vectors; exact, whole, and refused when it is somebody else's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from test_main_job import TINY

import selfsight
from selfsight import checkpoints, cli
from selfsight.browsing.decoding import Decoders
from selfsight.data.decode import decode
from selfsight.data.ranges import conform, format_of
from selfsight.embedding import store
from selfsight.errors import DiskError, ImageError, RunError
from selfsight.neighbours import nearest
from selfsight.runs import RunFolder
from selfsight.searching.index import Index
from selfsight.views.render import whole


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and the vectors of its pictures."""
    folder = tmp_path_factory.mktemp("index")
    assert cli.main(["train", str(photos), *TINY, "--for", "2steps", "--out", str(folder / "run"), "--quiet"]) == 0
    assert cli.main(["embed", str(folder / "run"), str(photos), "--out", str(folder / "vectors")]) == 0
    return folder


@pytest.fixture
def vectors(home: Path, tmp_path: Path) -> Path:
    """The vectors, to be changed."""
    return Path(shutil.copytree(home / "vectors", tmp_path / "vectors"))


def test_a_run_and_a_folder_are_the_same_index(home: Path, photos: Path) -> None:
    run, folder = Index.open(home / "run"), Index.open(home / "vectors")
    assert len(run) == len(folder) == 64
    assert isinstance(run.vectors, np.memmap)
    assert run.names == folder.names
    assert run.paths == [str(photos / name) for name in run.names]
    assert run.labels == [Path(name).parent.name for name in run.names]
    assert run.rows.tolist() == list(range(64))
    np.testing.assert_array_equal(run.vectors, folder.vectors)
    np.testing.assert_allclose(run.lengths, np.linalg.norm(run.vectors, axis=1), rtol=1e-6)


@pytest.mark.parametrize("other", [{"encoder": "another"}, {"least_side": 64}])
def test_a_run_embeds_its_pictures_once_and_again_for_a_new_encoder(home: Path, other: dict[str, object]) -> None:
    Index.open(home / "run")
    file = home / "run" / "embeddings" / "embeddings.json"
    before = file.stat().st_mtime_ns
    assert Index.open(home / "run").facts["encoder"] == store.digest(home / "run" / "encoder")
    assert file.stat().st_mtime_ns == before
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    facts = Index.open(home / "run").facts
    assert (facts["encoder"], facts["least_side"]) == (store.digest(home / "run" / "encoder"), None)


def test_a_large_photograph_is_seen_alike_by_all_that_ask(tmp_path: Path) -> None:
    """From a folder, by its name and as bytes that came over the network: halved by the decoder of its JPEG."""
    for number in range(10):
        photo = Image.fromarray(load_sample_images().images[number % 2][5 * number :])
        photo.save(tmp_path / f"{number}.jpg")
    asked = {"method": "simclr", "encoder": "test_resnet", "length": "1steps", "batch": 4, "size": 32, "quiet": True}
    run = selfsight.train(tmp_path, out=tmp_path / "run", threads=1, **asked)
    index, file = Index.open(run.folder), tmp_path / "0.jpg"
    assert run.recipe.least_side == 128
    np.testing.assert_allclose(index.embed(file), index.vectors[index.names.index("0.jpg")], rtol=1e-4, atol=1e-5)
    shape = format_of(run.recipe)
    decoders = Decoders(shape, run.recipe.least_side, run.recipe.size, 1)
    seen = asyncio.run(decoders.view(file.read_bytes()))
    decoders.close()
    np.testing.assert_array_equal(index.view(file), seen)
    assert not np.array_equal(whole(conform(decode(file), shape), run.recipe.size), seen), "all of it decoded"


def test_a_run_that_cannot_be_written_says_what_to_do(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run", ignore=shutil.ignore_patterns("embeddings"))
    (tmp_path / "run" / "embeddings").touch()
    with pytest.raises(DiskError, match=r"cannot be written \(File exists\); embed its pictures where you may write"):
        Index.open(tmp_path / "run")


def test_pictures_that_were_moved_are_found_where_they_are(home: Path, photos: Path, tmp_path: Path) -> None:
    """The manifest of the run says where since `train` was given their new place; what was left out stays left out."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(photos, moved)
    shutil.copytree(home / "run", run)
    before = Index.open(run)
    kept = store.read(run / "embeddings"), np.arange(60)
    store.write(run / "embeddings", (), None, store.facts_for(RunFolder(run), "pictures"), kept)
    assert cli.main(["train", str(moved), *TINY, "--for", "2steps", "--out", str(run), "--quiet"]) == 0
    index = Index.open(run)
    assert index.paths == [str(moved / name) for name in before.names[:60]]
    np.testing.assert_array_equal(index.vectors, before.vectors[:60])
    assert store.read(run / "embeddings").table["file"].to_pylist() == [os.fsencode(path) for path in index.paths]


def test_a_picture_by_file_or_bytes_is_its_own_row(home: Path) -> None:
    index = Index.open(home / "vectors")
    for row in (0, 40):
        by_file, by_bytes = index.embed(index.paths[row]), index.embed(Path(index.paths[row]).read_bytes())
        np.testing.assert_array_equal(by_file, by_bytes)
        np.testing.assert_allclose(by_file, index.vectors[row], rtol=1e-3, atol=1e-4)
        scores, rows = index.nearest(by_file[None], 3)
        assert rows[0, 0] == row
        assert scores[0, 0] == pytest.approx(1, abs=1e-4)


def test_nearest_is_the_one_function(home: Path) -> None:
    index = Index.open(home / "vectors")
    queries = index.vectors[:5]
    expected_scores, expected = nearest(np.asarray(queries), np.asarray(index.vectors), 7)
    scores, rows = index.nearest(queries, 7)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    where = np.array([label == "flower" for label in index.labels])
    found = index.nearest(queries, 100, where)[1]
    assert found.shape == (5, 32)
    assert where[found].all()
    assert index.nearest(queries, 3, np.zeros(64, bool))[0].shape == (5, 0)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows(count: int, home: Path, tmp_path: Path) -> None:
    stored = store.read(home / "vectors")
    index = Index(store.Stored(stored.vectors[:count], stored.table.slice(0, count), stored.facts), "few")
    scores, rows = index.nearest(np.asarray(stored.vectors[:2]), 5)
    assert rows.shape == scores.shape == (2, count)


def test_what_is_wrong_is_said(home: Path, vectors: Path, photos: Path, tmp_path: Path) -> None:
    index = Index.open(vectors)
    with pytest.raises(RunError, match=r"vectors of \d+ numbers, and a query of 3 came"):
        index.nearest(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ImageError, match="missing"):
        index.embed(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="'4 bytes': "):
        index.embed(b"text")
    with pytest.raises(RunError, match="does not exist"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no embeddings"):
        Index.open(photos)
    patches = tmp_path / "patches"
    assert cli.main(["embed", str(home / "run"), str(photos), "--patches", "--out", str(patches)]) == 0
    with pytest.raises(RunError, match="embed without --patches"):
        Index.open(patches)


def test_another_encoder_makes_no_query(home: Path, vectors: Path, tmp_path: Path) -> None:
    facts = json.loads((vectors / "embeddings.json").read_text())
    (vectors / "embeddings.json").write_bytes(checkpoints.signed(facts | {"run": str(tmp_path / "moved")}))
    picture = Index.open(vectors).paths[0]
    with pytest.raises(RunError, match="say --encoder RUN"):
        Index.open(vectors).embed(picture)
    assert Index.open(vectors, encoder=home / "run").embed(picture).shape == (facts["width"],)
    (vectors / "embeddings.json").write_bytes(checkpoints.signed(facts | {"encoder": "another"}))
    with pytest.raises(RunError, match="belongs to another encoder"):
        Index.open(vectors).embed(picture)


def test_files_that_do_not_fit_are_no_index(vectors: Path) -> None:
    array = (vectors / "embeddings.npy").read_bytes()
    (vectors / "embeddings.npy").write_bytes(array[: len(array) // 2])
    with pytest.raises(RunError, match="damaged"):
        Index.open(vectors)
