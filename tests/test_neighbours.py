"""The one nearest-neighbour function against a slow twin."""

import warnings

import numpy as np
import pytest

from selfsight.neighbours import nearest, unit


def slow(queries: np.ndarray, gallery: np.ndarray, k: int, exclude_self: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every cosine, sorted in Python by (score, index)."""
    cosines = unit(queries) @ unit(gallery).T
    found = []
    for number, row in enumerate(cosines):
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        found.append([index for index in order if not (exclude_self and index == number)][:k])
    indices = np.array(found)
    return np.take_along_axis(cosines, indices, axis=1), indices


@pytest.mark.parametrize("k", [1, 4, 29])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_equals_the_slow_twin(k: int, exclude_self: bool, chunk: int) -> None:
    generator = np.random.default_rng(0)
    gallery = generator.normal(size=(30, 5))
    queries = gallery if exclude_self else generator.normal(size=(17, 5))
    scores, indices = nearest(queries, gallery, k, exclude_self=exclude_self, chunk=chunk)
    expected_scores, expected = slow(queries, gallery, k, exclude_self)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_ties_go_to_the_lowest_index(k: int) -> None:
    corners = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])[[1, 0, 1, 0, 2, 0, 1, 0]]  # exact cosines: 0, 1, -1
    scores, indices = nearest(np.array([[2.0, 0.0]]), corners, k)
    assert indices[0].tolist() == [1, 3, 5, 7, 0, 2, 6, 4][:k]
    assert scores[0].tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0][:k]


def test_scale_changes_nothing_and_the_dtype_is_kept() -> None:
    rows = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    scores, indices = nearest(rows * 7, rows * 0.01, 3)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(indices, nearest(rows, rows, 3)[1])
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-6)


def test_given_lengths_change_nothing_and_only_what_is_allowed_is_found() -> None:
    generator = np.random.default_rng(2)
    gallery, queries = (generator.normal(size=(count, 6)).astype(np.float32) for count in (40, 9))
    gallery[3] = 0
    lengths, among = np.linalg.norm(gallery, axis=1), np.arange(40) % 3 != 1
    scores, indices = nearest(queries, gallery, 12, lengths=lengths, among=among)
    kept = np.flatnonzero(among)
    expected_scores, expected = slow(queries, gallery[kept], 12, False)
    np.testing.assert_array_equal(indices, kept[expected])
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    own = nearest(gallery, gallery, 25, lengths=lengths, among=among, exclude_self=True)[1]
    assert all(row not in own[row] and among[own[row]].all() for row in kept)
    with pytest.raises(ValueError, match="k = 28 neighbours"):
        nearest(queries, gallery, 28, lengths=lengths, among=among)


def test_a_row_of_zeros_is_no_nan() -> None:
    scores, _ = nearest(np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32), 2)
    assert scores.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("k", "exclude_self"), [(0, False), (5, False), (4, True)])
def test_an_impossible_k_is_refused(k: int, exclude_self: bool) -> None:
    with pytest.raises(ValueError, match=f"k = {k} neighbours"):
        nearest(np.eye(4), np.eye(4), k, exclude_self=exclude_self)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_equals_faiss(k: int) -> None:
    with warnings.catch_warnings(action="ignore"):  # of its wrapper's types
        import faiss
    generator = np.random.default_rng(0)
    queries, gallery = (unit(generator.normal(size=(count, 16)).astype(np.float32)) for count in (50, 300))
    index = faiss.IndexFlatIP(16)
    index.add(gallery)
    expected_scores, expected = index.search(queries, k)
    scores, indices = nearest(queries, gallery, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_many_equal_rows_are_found_in_their_order() -> None:
    """A collapsed encoder: every cosine is 1, whatever the chunks."""
    rows = np.ones((40, 4), np.float32)
    _, indices = nearest(rows, rows, 3, exclude_self=True, chunk=7)
    assert indices[0].tolist() == [1, 2, 3]
    assert indices[39].tolist() == [0, 1, 2]
