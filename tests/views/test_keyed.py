"""A key of its own for each sample, which leaves the views as they are."""

from __future__ import annotations

import pickle

import numpy as np

from selfsight.views.keyed import Keyed
from selfsight.views.recipes import multi_view


def test_keys_follow_from_the_generator_and_leave_the_views_alone() -> None:
    plain = multi_view("zoom-flip", 32, views=1)
    views = pickle.loads(pickle.dumps(Keyed(plain)))
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    first, again, other = (views(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first["views"], plain(image, np.random.default_rng(3))["views"])
    assert first["key"].dtype == np.int64
    assert first["key"] == again["key"] != other["key"]
