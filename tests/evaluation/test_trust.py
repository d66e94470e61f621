"""Rank agreement: against scipy, its closed ends, and when it says nothing."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from selfsight.evaluation.trust import rank_agreement


def test_the_correlation_is_scipys_with_ties() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, 15).astype(float)
    quality = scores + generator.normal(size=15).round(1)
    found = rank_agreement(scores, quality)
    assert found["spearman"] == pytest.approx(spearmanr(scores, quality).statistic, abs=1e-12)
    low, high = found["interval"]
    assert low < found["spearman"] < high
    assert found["count"] == 15
    assert rank_agreement(scores, quality) == found


def test_only_the_order_counts() -> None:
    scores = np.random.default_rng(1).normal(size=12)
    quality = np.random.default_rng(2).normal(size=12)
    assert rank_agreement(np.exp(scores), quality) == rank_agreement(scores, quality)
    turned = rank_agreement(-scores, quality)
    assert turned["spearman"] == pytest.approx(-rank_agreement(scores, quality)["spearman"])


def test_what_cannot_be_said_is_none() -> None:
    assert rank_agreement([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == {"spearman": None, "interval": None, "count": 5}
    assert rank_agreement([1.0] * 8, list(range(8)))["spearman"] is None
    with pytest.raises(ValueError, match="not of the same items"):
        rank_agreement([1, 2], [1])
    with pytest.raises(ValueError, match="finite"):
        rank_agreement([1, float("nan")], [1, 2])
