"""Partitions: NMI against its check value and scikit-learn, what is told, and how many clusters there may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from selfsight.clusters.partition import Partition, automatic, nmi
from selfsight.errors import RecipeError

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["clustering"]


def test_check_value() -> None:
    first, second = (torch.tensor(CHECK["inputs"][name]) for name in ("true", "pred"))
    assert nmi(first, second) == pytest.approx(CHECK["expected"]["NMI"], rel=1e-12)


@given(pairs=st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 3)), min_size=1, max_size=60))
def test_scikit_learn_says_the_same(pairs: list[tuple[int, int]]) -> None:
    first, second = torch.tensor(pairs).T
    expected = normalized_mutual_info_score(first.numpy(), second.numpy())
    assert nmi(first, second) == pytest.approx(expected, abs=1e-9)
    assert nmi(second, first) == pytest.approx(expected, abs=1e-9)
    assert nmi(first, 7 - first) == pytest.approx(1.0)


def test_a_partition_tells_of_the_change() -> None:
    partition = Partition(8, 4, 2)
    assert partition.assignments.tolist() == [[-1] * 8] * 2
    partition.replace(torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3], [0] * 8]))
    told = {name: float(term) for name, term in partition.terms().items()}
    assert told == {"nmi": 0.5, "clusters": 2.5, "largest": 0.625}  # one cluster before: 0 to four, 1 to one
    partition.replace(torch.tensor([[1, 1, 2, 2, 3, 3, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]))
    told = {name: float(term) for name, term in partition.terms().items()}
    assert told == {"nmi": 0.5, "clusters": 3.0, "largest": 0.375}  # other names of the same, and something new
    assert set(partition.state_dict()) == {"assignments", "diagnosis"}


def test_clusters_are_as_published_or_one_for_twenty_pictures() -> None:
    found = [automatic(3000, count, {})["clusters"] for count in (10**6, 60000, 50000, 400, 8)]
    assert [clusters for clusters, _ in found] == [3000, 3000, 2500, 20, 2]
    assert found[0][1] == found[1][1] == "published: 3000"
    assert "20 of 400 pictures" in found[3][1]
    assert "clusters" not in automatic(3000, 400, {"clusters": 300})
    assert automatic(3000, 400, {})["count"][0] == 400


def test_more_clusters_than_pictures_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"400 training pictures cannot fill 401 clusters.*20 would"):
        automatic(3000, 400, {"clusters": 401})
    with pytest.raises(RecipeError, match="leave it out"):
        automatic(3000, 400, {"count": 100})
