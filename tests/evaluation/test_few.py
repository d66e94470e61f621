"""Few labels: who is drawn, and what is made of it."""

import numpy as np
import pytest

from selfsight.evaluation import few


def test_each_class_gives_its_number_from_different_groups_first() -> None:
    labels = np.array([0] * 12 + [1] * 6 + [2])
    groups = np.array([0] * 4 + [1] * 4 + [2] * 4 + [3] * 6 + [4])
    for seed in range(20):
        rows = few.drawn(labels, groups, 3, np.random.default_rng(seed))
        assert np.bincount(labels[rows]).tolist() == [3, 3, 1]  # the last class gives all it has
        assert len(set(groups[rows][labels[rows] == 0])) == 3
        assert len(set(rows)) == len(rows)


def test_every_picture_can_be_drawn() -> None:
    labels, groups = np.zeros(6, dtype=np.int64), np.array([0, 0, 0, 1, 1, 2])
    seen = [few.drawn(labels, groups, 1, np.random.default_rng(seed))[0] for seed in range(200)]
    assert set(seen) == set(range(6))


def test_class_means_name_clear_clusters() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = np.eye(3)[labels] + 0.05 * generator.normal(size=(90, 3))
    measured = few.measure(rows[:60], labels[:60], np.arange(60), rows[60:], labels[60:], shots=1)
    assert measured.accuracy == 1
    assert measured.right.shape == (30,)
    assert measured.draws.shape == (few.DRAWS,)


def test_draws_do_not_depend_on_the_features() -> None:
    """So that two rows of a table are compared on the same labelled pictures."""
    generator = np.random.default_rng(0)
    rows, labels = generator.normal(size=(60, 4)), np.arange(60) % 3
    known = (labels[:40], np.arange(40))
    one = few.measure(rows[:40], *known, rows[40:], labels[40:], shots=2)
    scaled = few.measure(rows[:40] * 3, *known, rows[40:] * 5, labels[40:], shots=2)
    np.testing.assert_array_equal(one.right, scaled.right)
    assert one.accuracy == pytest.approx(np.mean(one.draws))
