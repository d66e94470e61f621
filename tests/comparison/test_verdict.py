"""Plain words: each follows from an interval that lies off 0, and from nothing else."""

from __future__ import annotations

import pytest

from selfsight.comparison import verdict
from selfsight.evaluation.contest import Gap


def gaps(*shown: str, names: str = "abc", others: str = "") -> dict[tuple[str, str], Gap]:
    """All pairs tied but for those in `shown`, such as "a>b"; `others` are compared with each name."""
    every = [(x, y) for place, x in enumerate(names) for y in names[place + 1 :]]
    every += [(x, other) for x in names for other in others.split()]
    said = {tuple(one.split(">")) for one in shown}
    made = {}
    for x, y in every:
        sign = 1 if (x, y) in said else -1 if (y, x) in said else 0
        made[x, y] = Gap(x, y, 0.2 * sign, (0.2 * sign - 0.1, 0.2 * sign + 0.1), bool(sign))
    return made


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ([], "a, b and c are tied"),
        (["a>b", "a>c"], "a is better than b and c"),
        (["a>c", "b>c"], "a and b are tied; both beat c"),
        (["a>c"], "a and b are tied; a beats c"),
        (["b>c"], "a and b are tied; b beats c"),
    ],
)
def test_who_is_ahead(shown: list[str], says: str) -> None:
    assert verdict.order(gaps(*shown), ["a", "b", "c"]) == says


def test_baselines_that_the_same_methods_beat_are_told_together() -> None:
    found = gaps(
        "a>raw_pixels", "b>raw_pixels", "a>simple_statistics", names="ab", others="raw_pixels simple_statistics"
    )
    assert verdict.beside(found, ["a", "b"], ["raw_pixels", "simple_statistics"]) == [
        "both beat raw pixels",
        "a beats simple statistics",
    ]
    found = gaps("raw_pixels>b", names="ab", others="raw_pixels simple_statistics")
    assert verdict.beside(found, ["a", "b"], ["raw_pixels", "simple_statistics"]) == [
        "none is shown to beat raw pixels",
        "b is worse than raw pixels",
        "none is shown to beat simple statistics",
    ]
    found = gaps("raw_pixels>a", "raw_pixels>b", names="ab", others="raw_pixels")
    assert verdict.beside(found, ["a", "b"], ["raw_pixels"]) == ["both are worse than raw pixels"]


def test_of_a_method_at_its_untrained_network_no_more_is_said_than_is_shown() -> None:
    found = gaps("a>untrained", names="ab", others="untrained")
    assert verdict.no_gain(found, ["a", "b"], "nearest neighbours find") == (
        "b is not shown to have learned anything that nearest neighbours find (beside its own untrained network)"
    )
    found = gaps(names="ab", others="untrained")
    assert str(verdict.no_gain(found, ["a", "b"], "")).startswith("a and b are not shown to have learned anything")
    found = gaps("a>untrained", "b>untrained", names="ab", others="untrained")
    assert verdict.no_gain(found, ["a", "b"], "") is None


def test_effective_rank_is_compared_with_the_method_that_is_named() -> None:
    leads = {"a": 0.4, "b": 0.6}
    assert "b is first in 60%" in verdict.without_labels(leads, {"rankme": ["b", "a"]})
    assert "by effective rank it is also b," in verdict.without_labels(leads, {"rankme": ["b", "a"]})
    assert "by effective rank it is a," in verdict.without_labels(leads, {"rankme": ["a", "b"]})
    assert verdict.without_labels(leads, {}).endswith("of the draws of other pictures like these.")


def test_training_from_scratch_is_placed_among_the_methods() -> None:
    found = gaps("supervised>b", names="ab", others="supervised")
    said = verdict.against_labels(found, ["a", "b"])
    assert said.startswith("Trained from scratch with all the labels, a network is better than b and tied with a")


def test_whether_to_train_without_labels_at_all() -> None:
    counts = {"1 a class": 9, "10%": 300, "100%": 3000}

    def made(few: int, many: int, every: int) -> dict[tuple[str, str], Gap]:
        return {
            (f"a@{name}", f"supervised@{name}"): Gap("", "", 0.2 * sign, (0, 0), bool(sign))
            for name, sign in zip(counts, (few, many, every), strict=True)
        }

    assert verdict.pretrain(made(1, 1, -1), counts, "a") == (
        "Yes, with few labels: with 9 and 300 labels frozen features of a beat training from scratch; with 3,000 "
        "training from scratch is better."
    )
    idle = verdict.pretrain(made(1, 1, 0), counts, "a", idle=True)
    assert idle.startswith("a is not shown to have learned anything, so nothing speaks for training it; yet with 9 and")
    assert verdict.pretrain(made(1, 1, 1), counts, "a").startswith("Yes: at every number of labels tried")
    assert verdict.pretrain(made(0, 0, -1), counts, "a").startswith("It is not shown to pay here")
    plain = {(f"a@{name}", f"simple_statistics@{name}"): Gap("", "", -0.2, (0, 0), True) for name in counts}
    assert "simple statistics are better with 9, 300 and 3,000 labels" in verdict.pretrain(
        made(1, 1, 0) | plain, counts, "a"
    )


def test_a_gap_is_read_either_way_round() -> None:
    found = gaps("a>b")
    assert verdict.gap(found, "b", "a").worse
    assert verdict.gap(found, "b", "a").interval == pytest.approx((-0.3, -0.1))
