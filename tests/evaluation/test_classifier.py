"""The classifier: the linear probe as one affine map, whole on disk, and of one encoder only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from selfsight.errors import RunError
from selfsight.evaluation import classifier, linear
from selfsight.evaluation.classifier import Classifier
from selfsight.nn.whitening import Whitening

CLASSES = ("ant", "bee", "\ncow\u202e", "d,\"o'g")


def blobs(seed: int, count: int = 200, width: int = 12, noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Vectors as encoders make them: off centre, dimensions of very different size, one of them constant."""
    centres = np.random.default_rng(99).normal(size=(len(CLASSES), width))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(CLASSES), count)
    vectors = (centres[labels] + noise * generator.normal(size=(count, width))) * np.geomspace(1e-3, 1e2, width) + 3
    vectors[:, 4] = 7
    return vectors.astype(np.float32), labels


def made(count: int = 200) -> Classifier:
    vectors, labels = blobs(0, count)
    model = classifier.fit(vectors, labels, np.arange(count), CLASSES)
    return Classifier(model.weight, model.bias, CLASSES, {"encoder": "abc", **model.facts})


def test_it_names_what_the_linear_probe_names() -> None:
    (train, labels), (test, answers) = blobs(0), blobs(1)
    probe = linear.measure(train, labels, np.arange(200), test, answers)
    model = made()
    chances = model.probabilities(test)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_array_equal(chances.argmax(axis=1), probe.predictions)
    assert model.facts["decay"] == probe.decay


def test_standardising_and_turning_are_in_the_weights() -> None:
    (train, labels), (test, _) = blobs(0), blobs(1)
    near, far = linear.principal(*linear.standardised(train, test))
    decay = linear.choose(near, labels, np.arange(200), len(CLASSES))
    weights, _ = linear.fit(near, labels, decay, np.zeros((near.shape[1] + 1, len(CLASSES))))
    expected = softmax(far.astype(np.float64) @ weights[:-1] + weights[-1], axis=1)
    np.testing.assert_allclose(made().probabilities(test), expected, atol=1e-4)


def test_whitened_vectors_get_the_same_answers() -> None:
    train, test = blobs(0)[0], blobs(1)[0]
    white = Whitening.fit(train)
    assert white
    np.testing.assert_allclose(
        made().of_whitened(white).probabilities(white(test)), made().probabilities(test), atol=1e-3
    )


def test_collapsed_vectors_get_the_shares_of_the_classes() -> None:
    labels = np.array([0] * 30 + [1] * 10)
    model = classifier.fit(np.ones((40, 3), np.float32), labels, np.arange(40), ("ant", "bee"))
    np.testing.assert_allclose(model.probabilities(np.ones((1, 3), np.float32)), [[0.75, 0.25]], atol=1e-3)


def test_one_class_is_always_named() -> None:
    model = classifier.fit(blobs(0)[0], np.zeros(200, np.int64), np.arange(200), ("ant",))
    assert (model.probabilities(blobs(1)[0]) == 1).all()


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    model = made()
    model.save(tmp_path / "classifier")
    assert {path.name for path in (tmp_path / "classifier").iterdir()} == {
        "config.json",
        "digests.json",
        "model.safetensors",
    }
    again = classifier.kept(tmp_path / "classifier", "abc")
    assert again is not None
    assert (again.classes, again.facts) == (CLASSES, model.facts)
    vectors = blobs(1)[0]
    np.testing.assert_array_equal(again.probabilities(vectors), model.probabilities(vectors))
    assert set(load_file(tmp_path / "classifier" / "model.safetensors")) == {"weight", "bias"}


def test_none_is_kept_before_the_config_is_there(tmp_path: Path) -> None:
    """A kill between the two files leaves no classifier, never half of an old and half of a new one."""
    assert classifier.kept(tmp_path, "abc") is None
    made().save(tmp_path)
    (tmp_path / "config.json").unlink()
    assert classifier.kept(tmp_path, "abc") is None


def test_another_encoders_is_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    with pytest.raises(RunError, match=r"belongs to another encoder than this run's; remove that folder and classify"):
        classifier.kept(tmp_path, "other")


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    model = made()
    model.save(tmp_path)
    save_file({"weight": model.weight, "bias": model.bias[:2]}, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match=r"does not match its digest.*remove that folder"):
        classifier.kept(tmp_path, "abc")
    (tmp_path / "digests.json").unlink()
    with pytest.raises(RunError, match=r"not those of its classes.*remove that folder"):
        classifier.kept(tmp_path, "abc")
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match="remove that folder"):
        classifier.kept(tmp_path, "abc")
    for content in (b"{", b"[]", json.dumps({"encoder": "abc"}).encode()):
        model.save(tmp_path)
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(RunError, match="remove that folder"):
            classifier.kept(tmp_path, "abc")
