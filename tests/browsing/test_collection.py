"""Pictures by number: of one index, of what two have in common, of an index without pictures; clusters and odd ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from selfsight.browsing import groups, payloads
from selfsight.browsing.collection import Collection, gather
from selfsight.browsing.labels import Labels
from selfsight.browsing.payloads import KEY, Payloads
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.errors import RunError
from selfsight.evaluation.classifier import Classifier
from selfsight.neighbours import unit
from selfsight.searching.index import Index


def payloads_of(collection: Collection, folder: Path) -> Payloads:
    return Payloads(collection, Labels(collection, folder / "labels.csv"))


@pytest.fixture
def part(browsed: Path) -> Index:
    """Every other picture of the index, in another order."""
    index = Index.open(browsed)
    rows = np.arange(63, 0, -2)
    index.vectors, index.table = np.asarray(index.vectors[rows]), index.table.take(rows)
    return index


def test_two_indexes_share_what_both_hold(browsed: Path, part: Index) -> None:
    both = gather([Index.open(browsed), part])
    assert len(both) == 32
    for side in both.sides:
        np.testing.assert_array_equal(side.vectors, both.sides[0].vectors)
        near = side.neighbours(np.array([3, 7]), 5)
        assert [len(found) for found in near] == [5, 5]
        assert all(0 <= one < 32 and one != own for own, found in zip((3, 7), near, strict=True) for one, _ in found)
    assert [side.title for side in both.sides] == [str(browsed)] * 2  # of one name: told by their places


def test_what_is_kept_of_one_order_is_not_anothers(browsed: Path, part: Index, tmp_path: Path) -> None:
    """`browse B`, then `browse A B`: the same pictures of B, in the order of A."""
    part.where = str(tmp_path)
    every = part.vectors
    payloads_of(gather([part]), tmp_path).read("points-0-pca")
    both = gather([Index.open(browsed), part])
    alone = gather([part])
    assert len({collection.version for collection in (both, alone)}) == 2
    found = np.frombuffer(payloads_of(both, tmp_path).read("points-1-pca"), "<f4").reshape(-1, 2)
    np.testing.assert_allclose(found, payloads.maps.places("pca", every[both.sides[1].rows]), atol=1e-5)


def test_no_browser_is_told_a_path_of_this_machine(part: Index) -> None:
    part.names[:] = [f"/home/me/photos/{name}" for name in part.names[:-1]] + ["a.png"]
    assert not any(name.startswith(("/", "..")) for name in gather([part]).names)
    assert gather([part]).names[-1] == "a.png"


def test_indexes_without_a_common_picture_are_refused(browsed: Path, part: Index) -> None:
    part.paths[:] = [f"/elsewhere{path}" for path in part.paths]
    with pytest.raises(RunError, match="have no picture in common; embed the same pictures with both"):
        gather([Index.open(browsed), part])


def test_splits_are_those_of_the_run(browsed: Path, collection: Collection) -> None:
    manifest = Manifest.load(browsed / "manifest.parquet")
    known = dict(zip(manifest.paths, manifest.test, strict=True))
    assert [part == "test" for part in collection.splits] == [known[path] for path in collection.paths]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_have_a_page_as_well(browsed: Path, tmp_path: Path, count: int) -> None:
    index = Index.open(browsed)
    index.vectors, index.table = np.asarray(index.vectors[:count]), index.table.slice(0, count)
    index.where = str(tmp_path)
    payloads = payloads_of(gather([index]), tmp_path)
    for key in payloads.wanted():
        if not key.startswith("points-0-umap"):
            assert payloads.read(key) is not None, key
    assert payloads.facts()["count"] == count


def test_many_pictures_are_compared_with_some_of_them(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "MANY", 63)
    monkeypatch.setattr(payloads, "SOME", 40)
    side, page = collection.sides[0], payloads_of(collection, tmp_path)
    found = payloads._alike(side)
    title = next(column["title"] for column in page.facts()["sides"][0]["columns"] if column["name"] == "likeness")
    assert title == "Likeness to its nearest of 40 pictures"
    rows = unit(np.asarray(side.vectors))
    cosines = rows @ rows[keyed(0, 0, Purpose.ORDER).permutation(64)[:40]].T
    for own, row in enumerate(np.sort(cosines, axis=1)[:, ::-1]):
        least, most = row[1 : payloads.COMPARED + 1].mean(), row[: payloads.COMPARED].mean()
        assert min(abs(found[own] - least), abs(found[own] - most)) < 1e-5  # itself is among the 40, or is not


def test_very_many_pictures_are_not_compared_all_with_all(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = payloads_of(collection, tmp_path)
    monkeypatch.setattr(payloads, "MANY", 63)
    monkeypatch.setattr(payloads, "duplicates", lambda *_: pytest.fail("they are compared"))
    assert page.read("duplicates-0") == {"command": "selfsight search PLACE --duplicates"}


def test_classes_are_told_a_block_of_pictures_at_a_time(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = collection.sides[0].classifier, list[int]()
    assert model is not None
    chances = model.probabilities(collection.sides[0].vectors)

    def told(vectors: np.ndarray) -> np.ndarray:
        sizes.append(len(vectors))
        return Classifier.probabilities(model, vectors)

    object.__setattr__(model, "probabilities", told)
    monkeypatch.setattr(payloads, "NAMES", 30)
    page = payloads_of(collection, tmp_path)
    best, most = (page.read(f"column-0-{name}") for name in ("prediction", "confidence"))
    np.testing.assert_array_equal(np.frombuffer(best, "<i4"), chances.argmax(axis=1))
    np.testing.assert_allclose(np.frombuffer(most, "<f4"), chances.max(axis=1), rtol=1e-6)
    assert sizes == [30, 30, 4]


def test_what_is_kept_is_read_again(browsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(browsed)
    index.where = str(tmp_path)
    keys = ["points-0-pca", "column-0-cluster", "column-0-likeness"]
    first = [payloads_of(gather([index]), tmp_path).read(key) for key in keys]
    for module, name in ((groups, "clusters"), (payloads, "_alike"), (payloads.maps, "places")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it is made again"))
    assert [payloads_of(gather([index]), tmp_path).read(key) for key in keys] == first


def test_keys_that_are_none_give_nothing(collection: Collection, tmp_path: Path) -> None:
    payloads = payloads_of(collection, tmp_path)
    for key in [
        "names",
        "names--1",
        "points-0",
        "points-1-pca",
        "points-0-evil",
        "column-0-_x",
        "clusters-0-x",
        "near-0",
    ]:
        assert payloads.read(key) is None, key
    assert all(KEY.fullmatch(key) for key in payloads.wanted())


def test_a_run_that_is_gone_still_shows_its_pictures(browsed: Path, tmp_path: Path) -> None:
    shutil.copytree(browsed / "embeddings", tmp_path / "index", ignore=shutil.ignore_patterns("browse"))
    index = Index.open(tmp_path / "index")
    index.eye.folder = tmp_path / "gone"
    collection = gather([index])
    assert set(collection.splits) == {None}
    assert collection.sides[0].classifier is None
    assert payloads_of(collection, tmp_path).read("points-0-pca")


def test_clusters_are_told_by_their_size() -> None:
    generator = np.random.default_rng(0)
    vectors = np.concatenate([generator.normal(centre, 0.1, (n, 8)) for centre, n in ((1, 30), (-1, 10))])
    vectors[:, 4:] *= np.where(np.arange(40) < 30, 1, -1)[:, None]
    own = groups.clusters(vectors.astype(np.float32), 2)
    assert own.tolist() == [0] * 30 + [1] * 10  # the largest first
    told = groups.told(vectors.astype(np.float32), own)
    assert [one["size"] for one in told] == [30, 10]
    assert {*told[0]["examples"]} < {*range(30)}
    sets = ((0, 0), (2, 0), (200, 0), (10**6, 0), (100, 9))
    assert [groups.count(pictures, classes) for pictures, classes in sets] == [1, 1, 10, 24, 9]
