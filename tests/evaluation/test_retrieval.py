"""R@1: the check value, two views, and one identity as another vendor draws it."""

import json
from pathlib import Path

import numpy as np

from selfsight.evaluation import retrieval

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["retrieval"]


def test_check_value() -> None:
    given = CHECK["inputs"]
    right, asked = retrieval.same_label(np.array(given["embeddings"]), np.array(given["labels"]))
    assert right.mean() == CHECK["expected"]["R_at_1"]
    assert len(asked) == CHECK["expected"]["queries"]


def test_two_views() -> None:
    first = np.eye(5)
    assert retrieval.two_views(first, first + 0.1).all()
    assert retrieval.two_views(first, first[[1, 0, 2, 3, 4]]).tolist() == [False, False, True, True, True]


def test_across_searches_other_vendors_only() -> None:
    thing = np.array([0, 1, 2, 0, 1, 3])
    vendor = np.array([0, 0, 0, 1, 1, 1])
    features = np.eye(4)[thing]
    right, asked = retrieval.same_label(features, thing, vendor)
    assert asked.tolist() == [0, 1, 3, 4]  # 2 and 3 have no counterpart
    assert right.all()


def test_unlabelled_rows_and_one_vendor() -> None:
    features = np.eye(4)[[0, 0, 0, 1]]
    right, asked = retrieval.same_label(features, np.array([0, -1, 0, -1]))
    assert asked.tolist() == [0, 2]
    assert right.all()
    right, _ = retrieval.same_label(features, np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64))
    assert len(right) == 0
