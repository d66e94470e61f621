"""Which labelled pictures are fitted to, which are measured on, and what is said of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError
from selfsight.evaluation import classifier
from selfsight.evaluation.classifier import Classifier
from selfsight.evaluation.labelled import fitted, learn, obtained

CLASSES = ("ant", "bee", "cow")


def manifest(labels: Sequence[int], test: Sequence[int] = (), digests: Sequence[str] | None = None) -> Manifest:
    """Pictures with these labels; `test` are rows of the test part."""
    count = len(labels)
    names = tuple(f"{row:03d}.png" for row in range(count))
    numbers = np.arange(count)
    return Manifest(
        paths=names,
        names=names,
        digests=tuple(digests or names),
        labels=np.array(labels),
        groups=numbers,
        test=np.isin(numbers, test),
        widths=numbers,
        heights=numbers,
        channels=numbers,
        dtypes=("uint8",) * count,
        classes=CLASSES,
    )


def vectors_of(labels: Sequence[int], noise: float = 0.2) -> dict[str, np.ndarray]:
    """An encoder that tells the classes apart, and an untrained one that does not."""
    generator = np.random.default_rng(0)
    rows = np.eye(6)[np.array(labels)] + noise * generator.normal(size=(len(labels), 6))
    return {
        "encoder": rows.astype(np.float32),
        "untrained": generator.normal(size=(len(labels), 6)).astype(np.float32),
    }


LABELS = [0, 1, 2] * 20
UNSEEN = np.zeros(60, bool)


def test_the_test_part_is_never_fitted_to() -> None:
    test = range(45, 60)
    model = fitted(vectors_of(LABELS), manifest(LABELS, test), UNSEEN)
    shuffled = [*LABELS[:45], *([2, 0, 1] * 5)]
    other = fitted(vectors_of(LABELS), manifest(shuffled, test), UNSEEN)
    np.testing.assert_array_equal(model.weight, other.weight)
    np.testing.assert_array_equal(model.bias, other.bias)
    assert model.facts["learned_from"] == 45
    assert model.facts["held_out"]["accuracy"] > 0.9 > 0.2 > other.facts["held_out"]["accuracy"]


def test_accuracy_stands_beside_baselines() -> None:
    found = fitted(vectors_of(LABELS), manifest(LABELS, range(45, 60)), UNSEEN).facts["held_out"]
    assert (found["pictures"], found["groups"]) == (15, 15)
    assert found["majority"] == pytest.approx(1 / 3)
    low, high = found["interval"]
    assert 0 <= low <= found["accuracy"] <= high <= 1
    assert found["accuracy"] == classifier_accuracy(vectors_of(LABELS)["encoder"])
    untrained = found["baselines"]["untrained"]
    assert untrained["accuracy"] == classifier_accuracy(vectors_of(LABELS)["untrained"])
    assert untrained["difference"] == pytest.approx(found["accuracy"] - untrained["accuracy"])
    assert untrained["difference_interval"][0] > 0
    assert 0 <= found["calibration"]["error"] <= 1


def classifier_accuracy(rows: np.ndarray) -> float:
    labels = np.array(LABELS)
    model = classifier.fit(rows[:45], labels[:45], np.arange(45), CLASSES)
    return float((model.probabilities(rows[45:]).argmax(axis=1) == labels[45:]).mean())


def test_pictures_that_the_encoder_was_trained_on_are_not_measured_on() -> None:
    seen = np.isin(np.arange(60), range(50))
    model = fitted(vectors_of(LABELS), manifest(LABELS, range(45, 60)), seen)
    assert model.facts["held_out"]["pictures"] == 10
    assert model.facts["learned_from"] == 45
    every = fitted(vectors_of(LABELS), manifest(LABELS, range(45, 60)), ~UNSEEN)
    assert every.facts["held_out"]["pictures"] == 15
    assert "The encoder was trained on 15 of the 15 pictures measured on." in " ".join(every.facts["notes"])


def test_without_a_test_part_a_fifth_is_held_out_and_all_is_fitted_to() -> None:
    model = fitted(vectors_of(LABELS), manifest(LABELS), UNSEEN)
    assert (model.facts["learned_from"], model.facts["held_out"]["pictures"]) == (60, 12)
    assert "a classifier of 48 pictures on 12 that were held out" in " ".join(model.facts["notes"])
    rows, labels = vectors_of(LABELS)["encoder"], np.array(LABELS)
    np.testing.assert_array_equal(model.weight, classifier.fit(rows, labels, np.arange(60), CLASSES).weight)


def test_copies_are_not_parted() -> None:
    """Thirty pictures, each there twice: what is held out comes in pairs."""
    labels = [label for label in LABELS[:30] for _ in (0, 1)]
    digests = [str(row // 2) for row in range(60)]
    model = fitted(vectors_of(labels), manifest(labels, digests=digests), UNSEEN)
    assert model.facts["held_out"]["pictures"] == 12
    assert model.facts["held_out"]["groups"] == 6


def test_a_class_of_the_test_part_alone_is_not_learned() -> None:
    labels = [0, 1] * 20 + [2] * 5
    model = fitted(vectors_of(labels), manifest(labels, range(30, 45)), np.zeros(45, bool))
    assert model.classes == ("ant", "bee")
    assert model.facts["held_out"]["pictures"] == 10


def test_few_labels_are_warned_of() -> None:
    labels = [0] * 20 + [1] * 4 + [2]
    notes = fitted(vectors_of(labels), manifest(labels), np.zeros(25, bool)).facts["notes"]
    assert notes[0] == "Fewer than 5 labelled pictures to learn from: 'bee', 'cow'."


def test_one_class_is_warned_of_and_not_measured() -> None:
    model = fitted(vectors_of([1] * 9), manifest([1] * 9, [7, 8]), np.zeros(9, bool))
    assert model.classes == ("bee",)
    assert model.facts["held_out"] is None
    assert model.facts["notes"][0].startswith("Only 'bee' has labels, so every picture is given it")


def test_labels_in_the_test_part_alone_are_refused() -> None:
    with pytest.raises(DataError, match="every labelled picture is in the test part"):
        learn({}, None, manifest([0, 1], [0, 1]), np.zeros(2, bool), size=32)  # type: ignore[arg-type]


def test_what_is_saved_is_used_for_the_same_labels_only() -> None:
    taught: list[int] = []

    def teach(those: Manifest) -> Classifier:
        taught.append(len(those))
        return Classifier(np.zeros((6, 3), np.float32), np.zeros(3, np.float32), CLASSES, {})

    some = manifest([0, 1, -1, 2])
    first, reused = obtained(None, some, True, "abc", teach)
    assert (reused, taught, first.facts["encoder"]) == (False, [3], "abc")
    assert obtained(first, some, True, "abc", teach) == (first, True)
    assert obtained(first, replace(some, digests=("new", *some.digests[1:])), True, "abc", teach)[1] is False
    assert obtained(first, manifest([0, 1, -1, 1]), False, "abc", teach)[1] is False
    blank = manifest([-1, -1])
    assert obtained(first, blank, True, "abc", teach) == (first, True)  # a run without labels of its own
    for saved, own, says in ((None, True, "with --labels"), (first, False, "--label-column")):
        with pytest.raises(DataError, match=says):
            obtained(saved, blank, own, "abc", teach)
