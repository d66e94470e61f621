"""The linear probe: separable, shuffled, against scikit-learn, and a group that must not leak into the choice."""

import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from selfsight.evaluation import linear


def blobs(
    seed: int, count: int, width: int = 16, classes: int = 5, noise: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(classes, width))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    return (centres[labels] + noise * generator.normal(size=(count, width))).astype(np.float32), labels


def test_separable_features_reach_everything() -> None:
    (train, labels), (test, answers) = blobs(0, 500), blobs(1, 300)
    assert linear.measure(train, labels, np.arange(500), test, answers).accuracy == 1


def test_shuffled_labels_stay_at_chance() -> None:
    (train, labels), (test, answers) = blobs(0, 1000, noise=3.0), blobs(1, 1000, noise=3.0)
    honest = linear.measure(train, labels, np.arange(1000), test, answers)
    shuffled = np.random.default_rng(0).permutation(labels)
    measured = linear.measure(train, shuffled, np.arange(1000), test, answers)
    assert abs(measured.accuracy - 0.2) < 0.06
    assert honest.accuracy > 0.4


@pytest.mark.parametrize("decay", [1e-1, 1e-3])
def test_fit_equals_scikit_learn(decay: float) -> None:
    features, labels = blobs(0, 400, noise=1.5)
    near, _ = linear.standardised(features, features)
    weights, converged = linear.fit(near, labels, decay, np.zeros((17, 5)), 1e-9)
    twin = LogisticRegression(C=1 / (decay * 400), tol=1e-8, max_iter=5000).fit(near.astype(np.float64), labels)
    assert converged
    ours = linear.scores(near, weights)
    theirs = twin.decision_function(near)
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=0.03)
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.995


def test_the_gradient_is_the_slope() -> None:
    """Warm and cold starts of a convex problem meet: they would not with a wrong gradient."""
    features, labels = blobs(0, 200, noise=1.5)
    near, _ = linear.standardised(features, features)
    cold, _ = linear.fit(near, labels, 1e-2, np.zeros((17, 5)), 1e-9)
    warm, _ = linear.fit(near, labels, 1e-2, np.random.default_rng(0).normal(size=(17, 5)), 1e-9)
    np.testing.assert_allclose(cold[:-1], warm[:-1], atol=0.02)


def test_standardising_uses_the_training_part_only() -> None:
    train = np.array([[0.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    near, far = linear.standardised(train, np.array([[3.0, 9.0]], dtype=np.float32))
    assert near.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert far.tolist() == [[2.0, 0.0]]  # a constant dimension says nothing about unseen pictures


def test_turning_changes_no_solution() -> None:
    features, labels = blobs(0, 300, noise=1.5)
    features[:, 3] = features[:, 2]  # a direction without variance, which is dropped
    near, _ = linear.standardised(features, features)
    turned, again = linear.principal(near, near)
    assert turned.shape == (300, 15)
    np.testing.assert_array_equal(turned, again)
    plain, _ = linear.fit(near, labels, 1e-2, np.zeros((17, 5)), 1e-9)
    quick, _ = linear.fit(turned, labels, 1e-2, np.zeros((16, 5)), 1e-9)
    np.testing.assert_allclose(linear.scores(near, plain), linear.scores(turned, quick), atol=0.02)


def test_a_collapsed_encoder_gets_the_majority() -> None:
    labels = np.array([0] * 30 + [1] * 20)
    same = np.ones((50, 4), dtype=np.float32)
    assert linear.measure(same, labels, np.arange(50), same, labels).accuracy == 0.6


def test_an_unfinished_fit_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "ITERATIONS", 1)
    (train, labels), (test, answers) = blobs(0, 200, noise=1.5), blobs(1, 50)
    assert not linear.measure(train, labels, np.arange(200), test, answers).converged


def test_one_group_is_measured_without_a_choice() -> None:
    train, labels = blobs(0, 100)
    assert linear.measure(train, labels, np.zeros(100, dtype=np.int64), train, labels).decay == 1e-3


def test_the_quick_probe_has_the_strong_decays_that_raw_pixels_need() -> None:
    """Noise in every direction: the strongest decays win, with the whole grid and with the reduced one."""
    train, labels = blobs(0, 120, width=60, noise=4.0)
    near, _ = linear.standardised(train, train)
    assert linear.choose(near, labels, np.arange(120), 5, large=True) in (10.0, 1.0, 0.1)
    assert {10.0, 1.0} <= set(linear.REDUCED) <= set(linear.DECAYS)


def test_large_is_said_of_the_widest_row() -> None:
    assert linear.is_large([512, 3072], 100)
    assert not linear.is_large([512], 100)
    assert not linear.is_large([3072], 90)  # never more than 1,024 axes


@pytest.mark.slow
def test_ten_thousand_rows_take_less_than_twenty_seconds() -> None:
    (train, labels), (test, answers) = blobs(0, 10_000, 512, 12, 12.0), blobs(1, 2000, 512, 12, 12.0)
    start = time.process_time()
    measured = linear.measure(train, labels, np.arange(10_000), test, answers)
    assert time.process_time() - start < 20
    assert measured.converged
    assert 0.5 < measured.accuracy < 0.99  # neither trivial nor noise


def test_axes_are_those_of_the_covariance_where_pictures_are_fewer_than_numbers() -> None:
    rows = (np.random.default_rng(0).normal(size=(20, 50)) * np.linspace(3, 0.1, 50)).astype(np.float32)
    rows -= rows.mean(axis=0)
    kept = linear.axes(rows)
    expected = np.linalg.eigh(rows.T @ rows)[1][:, -19:]  # 20 centred pictures vary along 19
    assert kept.shape == (50, 19)
    np.testing.assert_allclose(np.abs((kept * expected).sum(axis=0)), 1, atol=1e-4)
    np.testing.assert_allclose(kept.T @ kept, np.eye(19), atol=1e-5)


def test_weak_decays_are_left_out_once_they_only_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that a strong decay holds down: the same choice as of all decays, with fewer fits."""
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    rows = generator.normal(size=(240, 60)).astype(np.float32)
    rows[:, 0] += 2 * labels
    fits: list[float] = []
    honest = linear.fit

    def counted(features: np.ndarray, labels: np.ndarray, decay: float, *rest: object) -> tuple[np.ndarray, bool]:
        fits.append(decay)
        return honest(features, labels, decay, *rest)

    monkeypatch.setattr(linear, "fit", counted)
    chosen, tried = linear.choose(rows, labels, np.arange(240), 3), len(fits)
    monkeypatch.setattr(linear, "DECLINE", 9.0)
    assert linear.choose(rows, labels, np.arange(240), 3) == chosen
    assert tried < len(fits) - tried == linear.HOLD_OUTS * len(linear.DECAYS)
