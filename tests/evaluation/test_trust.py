"""Rank agreement: against scipy, its closed ends, and when it says nothing."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from selfsight.evaluation.trust import FEWEST, _kendall, of_looks, rank_agreement

TWO = np.array([0, 1, -1])  # labels of the training pictures


def test_the_correlation_is_scipys_with_ties() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, 15).astype(float)
    quality = scores + generator.normal(size=15).round(1)
    found = rank_agreement(scores, quality)
    assert found["spearman"] == pytest.approx(spearmanr(scores, quality).statistic, abs=1e-12)
    assert found["kendall"] == pytest.approx(kendalltau(scores, quality).statistic, abs=1e-12)
    for name, ends in (("spearman", "interval"), ("kendall", "kendall_interval")):
        low, high = found[ends]
        assert low < found[name] < high
    assert found["count"] == 15
    assert rank_agreement(scores, quality) == found


def test_a_resample_is_counted_not_copied() -> None:
    generator = np.random.default_rng(0)
    scores, quality = generator.integers(0, 5, (2, 12)).astype(float)
    picks = generator.integers(0, 12, (20, 12))
    times = np.stack([np.bincount(pick, minlength=12) for pick in picks])
    expected = [kendalltau(scores[pick], quality[pick]).statistic for pick in picks]
    np.testing.assert_allclose(_kendall(np.stack([scores, quality]), times), expected, atol=1e-12)


def test_only_the_order_counts() -> None:
    scores = np.random.default_rng(1).normal(size=12)
    quality = np.random.default_rng(2).normal(size=12)
    assert rank_agreement(np.exp(scores), quality) == rank_agreement(scores, quality)
    turned = rank_agreement(-scores, quality)
    assert turned["spearman"] == pytest.approx(-rank_agreement(scores, quality)["spearman"])


def test_what_cannot_be_said_is_none() -> None:
    unknown = dict.fromkeys(("spearman", "interval", "kendall", "kendall_interval"))
    assert rank_agreement(range(9), range(9)) == unknown | {"count": 9}
    assert rank_agreement([1.0] * 12, range(12))["spearman"] is None
    with pytest.raises(ValueError, match="not of the same items"):
        rank_agreement([1, 2], [1])
    with pytest.raises(ValueError, match="finite"):
        rank_agreement([1, float("nan")], [1, 2])


def looks(count: int) -> list[dict[str, float]]:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=count)
    rows = [
        {"step": float(step), "quality": step / 50, "rankme": 10.0 + step, "mean_cos": step / 99, "std": noise[step]}
        for step in range(1, count)
    ]
    return [{"step": 0, "quality": 9.0, "rankme": -1.0}, {"step": 1, "loss": 2.0}, *rows]


def test_scores_are_judged_by_the_looks_of_a_run() -> None:
    found = of_looks(looks(31), TWO)
    assert set(found["measures"]) == {"rankme", "mean_cos", "std"}
    assert found["measures"]["rankme"]["spearman"] == pytest.approx(1)
    assert found["measures"]["mean_cos"]["spearman"] == pytest.approx(-1), "less would be better"
    assert found["measures"]["rankme"]["count"] == 30
    assert (
        "over 30 looks of this run, ranked them as the labels do: RankMe; the other way round: mean cosine;"
        in (found["sentence"])
    )


def test_no_score_may_be_a_guide() -> None:
    noise = [
        {"step": line["step"], "quality": line["quality"], "std": line["std"]} for line in looks(31) if "std" in line
    ]
    assert of_looks(noise, TWO)["sentence"].startswith("Over 30 looks of this run no score without labels is shown")


def test_few_looks_say_so() -> None:
    assert "is not known: 4 looks, and 10 are needed" in of_looks(looks(5), TWO)["sentence"]
    assert of_looks([{"step": 1, "loss": 2.0}], TWO) == {}
    assert of_looks(looks(31), np.array([-1, 1, 1])) == {}, "one class, so quality is not of labels"


def test_alpha_is_best_at_one() -> None:
    lines = [{"step": k + 1, "quality": q, "alpha_req": a} for k, (q, a) in enumerate([(1, 2), (2, 0.7), (3, 1)] * 4)]
    assert of_looks(lines, TWO)["measures"]["alpha_req"]["spearman"] == pytest.approx(1)


def test_the_page_says_how_many_runs_it_takes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")
    assert {10: "With ten runs and labels"}[FEWEST] in page
