"""Retrieval and clustering of a table's rows: what is sought, among what, and which intervals."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.evaluation import protocol, together
from selfsight.evaluation.together import Sought

COUNT = 240
THINGS, VENDORS = np.arange(COUNT) // 2 % 60, np.arange(COUNT) % 2
LABELS = THINGS % 4
NAMES = ("ant", "bee", "cow", "dog")


def rows(signal: float, seed: int = 0) -> np.ndarray:
    """Each thing in a place of its own, beside noise."""
    places = np.random.default_rng(9).normal(size=(60, 16))
    return (signal * places[THINGS] + np.random.default_rng(seed).normal(size=(COUNT, 16))).astype(np.float32)


def table(sought: Sought | None, labels: np.ndarray = LABELS) -> dict:
    features = {"encoder": rows(1.0), "untrained": rows(0.3, 1)}
    test = THINGS % 3 == 0
    return protocol.evaluate(features, labels, np.arange(COUNT), test, NAMES, sought=sought)


def test_a_column_is_sought_across_another() -> None:
    found = table(Sought(THINGS, "thing", VENDORS, "vendor"))
    assert found["retrieval"] | {"by": "thing", "across": "vendor", "queries": 80, "skipped": 0} == found["retrieval"]
    assert found["clustering"]["clusters"] == 4
    verdict = found["verdict"]["identity"]
    assert verdict["helped"] is True
    said = "finding a picture of the same 'thing' among pictures of another 'vendor' (R@1)"
    assert said in verdict["sentence"]
    rate = [found["retrieval"]["r_at_1"]["value"], found["baselines"]["untrained"]["retrieval"]["r_at_1"]["value"]]
    assert verdict["difference"] == pytest.approx(rate[0] - rate[1])


def test_pictures_of_one_value_are_resampled_together() -> None:
    """Four pictures a thing answer alike: their interval is wider than that of single pictures."""
    generator = np.random.default_rng(0)
    features = {"encoder": [np.where(THINGS[:, None] % 2, rows(9.0), generator.normal(size=(COUNT, 16)))]}
    found = together.measure(features, LABELS, np.arange(COUNT), Sought(THINGS, "thing"))
    single = together.measure(features, LABELS, np.arange(COUNT), Sought(THINGS))
    assert len(np.unique(found.units)) == 60
    named = together.measure(features, LABELS, np.arange(COUNT), Sought(THINGS, "label"))  # a column of that name
    assert (named.units == found.units).all()
    widths = [np.ptp(one.rows["encoder"]["retrieval"]["r_at_1"]["interval"]) for one in (found, single)]
    assert widths[0] > 1.5 * widths[1]


def test_without_labels_a_column_is_still_sought() -> None:
    found = table(Sought(THINGS, "thing"), np.full(COUNT, -1))
    assert found["retrieval"]["queries"] == 80
    assert "clustering" not in found
    assert "(R@1)" in found["verdict"]["identity"]["sentence"]
    assert "retrieval" not in table(None, np.full(COUNT, -1))


def test_classes_of_the_test_part_alone_are_retrieved() -> None:
    """As in metric learning: no class is in both parts, so none can be named, but its pictures can be found."""
    found = table(None, THINGS % 3)
    assert "knn" not in found
    assert found["retrieval"]["queries"] == 80
    other = table(Sought(np.arange(COUNT), "row"))
    assert "Nothing was retrieved: no two pictures of the test part have the same 'row'." in other["notes"]
    assert "identity" not in other["verdict"]
