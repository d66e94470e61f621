"""Colour bins against their check values and a slow twin in plain loops."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.errors import RecipeError
from selfsight.nn.colour_bins import ColourBins, annealed_mean, centres, rebalanced, soft_codes
from selfsight.views.lab import linear, to_lab

ENTRY = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["colorization"]
CHECK = ENTRY["expected"]


def colours(count: int) -> torch.Tensor:
    """Colours of random pixels, (count, 2), float64."""
    pixels = np.random.default_rng(0).random((count, 3))
    return torch.from_numpy(to_lab(linear(pixels))[:, 1:])


def slow_twin(ab: list[float], neighbours: int, sigma: float) -> dict[int, float]:
    distances = [(ab[0] - a) ** 2 + (ab[1] - b) ** 2 for a, b in centres().tolist()]
    nearest = sorted(range(len(distances)), key=lambda q: distances[q])[:neighbours]
    weights = {q: exp(-distances[q] / (2 * sigma**2)) for q in nearest}
    return {q: weight / sum(weights.values()) for q, weight in weights.items()}


def test_bins_are_the_published_ones() -> None:
    runs = ENTRY["inputs"]["bin_rows_a_to_[bmin,bmax]_step10"]
    expected = [[float(a), float(b)] for a, (first, last) in runs.items() for b in range(first, last + 1, 10)]
    assert centres().tolist() == expected
    assert len(expected) == ENTRY["inputs"]["Q"] == 313
    assert len(centres(20)) == 78


@pytest.mark.parametrize("point", CHECK["soft_encode_k5_sigma5"])
def test_soft_codes_have_their_check_values(point: str) -> None:
    index, shares = soft_codes(torch.tensor(json.loads(point), dtype=torch.float64), centres(), 5, 5.0)
    expected = CHECK["soft_encode_k5_sigma5"][point]
    found = dict(zip(index.tolist(), shares.tolist(), strict=True))
    assert found == pytest.approx(dict(zip(expected["indices"], expected["weights"], strict=True)), rel=1e-9)
    assert index[0] == expected["indices"][0]


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_soft_codes_are_the_slow_twins(neighbours: int) -> None:
    ab = colours(50)
    index, shares = ColourBins(10, neighbours).codes(ab)
    for row in range(len(ab)):
        found = dict(zip(index[row].tolist(), shares[row].tolist(), strict=True))
        assert found == pytest.approx(slow_twin(ab[row].tolist(), neighbours, 5.0), rel=1e-9)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(50, dtype=torch.float64))
    assert (shares.diff(dim=-1) <= 0).all(), "nearest first"


def test_any_shape_is_encoded_alike() -> None:
    ab = colours(24).float()
    flat, shaped = ColourBins(10, 5).codes(ab), ColourBins(10, 5).codes(ab.view(2, 3, 4, 2))
    assert all(torch.equal(one.flatten(0, -2), other) for one, other in zip(shaped, flat, strict=True))


def test_rebalancing_has_its_check_values() -> None:
    toy = CHECK["rebalance_toy"]
    prior = torch.tensor(toy["prior"], dtype=torch.float64)
    weights = rebalanced(prior, toy["lambda"])
    assert weights.tolist() == pytest.approx(toy["weights"], rel=1e-9)
    assert float(prior @ weights) == pytest.approx(toy["expected_weight_under_prior"], rel=1e-12)
    assert rebalanced(prior, 1.0).tolist() == pytest.approx([1.0] * 4)
    assert torch.isfinite(rebalanced(torch.tensor([1.0, 0.0, 0.0]), 0.5)).all()


@pytest.mark.parametrize("temperature", [1.0, 0.38])
def test_the_annealed_mean_has_its_check_values(temperature: float) -> None:
    toy = CHECK["annealed_mean_toy"]
    logits = torch.tensor(toy["z"], dtype=torch.float64).log().view(1, 3, 1, 1)
    found = annealed_mean(logits, torch.tensor(toy["bins"]), temperature).flatten()
    assert found.tolist() == pytest.approx(toy[f"T={temperature:g}"], rel=1e-9, abs=1e-9)
    shares = annealed_mean(logits, torch.eye(3)[:, :2], 0.38).flatten()  # of the first two bins
    assert shares.tolist() == pytest.approx(toy["probabilities_T0.38"][:2], rel=1e-9)


def test_the_annealed_mean_goes_from_the_mean_to_the_mode() -> None:
    bins = ColourBins(10, 5)
    logits = torch.randn(2, 313, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = torch.einsum("bqhw,qc->bchw", logits.softmax(dim=1), centres().double())
    torch.testing.assert_close(bins.mean_colour(logits, 1.0), mean)
    mode = centres().double()[logits.argmax(dim=1)].movedim(-1, 1)
    torch.testing.assert_close(bins.mean_colour(logits, 1e-4), mode)


def test_the_histogram_is_the_sum_of_the_codes() -> None:
    bins, ab = ColourBins(10, 5), colours(60)
    expected = torch.zeros(313, dtype=torch.float64)
    for row in ab.tolist():
        for q, share in slow_twin(row, 5, 5.0).items():
            expected[q] += share
    found = bins.histogram(ab.view(3, 20, 2))
    torch.testing.assert_close(found.sum(dim=0), expected)
    nearest = [max(twin, key=twin.__getitem__) for twin in (slow_twin(row, 5, 5.0) for row in ab.tolist())]
    torch.testing.assert_close(found.sum(dim=1), torch.bincount(torch.tensor(nearest), minlength=313).double())


@pytest.mark.parametrize("neighbours", [2, 5, 10])
def test_no_code_but_at_the_gamuts_edge_has_less_entropy_than_a_centre(neighbours: int) -> None:
    bins = ColourBins(10, neighbours)
    _, shares = bins.codes(colours(20_000))
    entropies = -(shares * shares.log()).sum(dim=-1)
    assert (entropies < bins.entropy() - 1e-6).double().mean() < 0.001
    grid = torch.cartesian_prod(torch.linspace(-5, 5, 41), torch.linspace(-5, 5, 41))
    _, inside = bins.codes(grid)
    assert -(inside * inside.log()).sum(dim=-1).min() >= bins.entropy() - 1e-5


def test_entropy_of_a_centre_in_numbers() -> None:
    weights = CHECK["soft_encode_k5_sigma5"]["[0.0, 0.0]"]["weights"]
    assert ColourBins(10, 5).entropy() == pytest.approx(-sum(w * log(w) for w in weights), rel=1e-6)
    assert ColourBins(20, 5).entropy() == pytest.approx(ColourBins(10, 5).entropy(), rel=1e-6)


@pytest.mark.parametrize(("spacing", "neighbours"), [(15, 5), (0, 5), (10, 0), (10, 314), (20, 79)])
def test_impossible_bins_are_refused(spacing: int, neighbours: int) -> None:
    with pytest.raises(RecipeError, match="spacing must be 10 or 20"):
        ColourBins(spacing, neighbours)


def test_colours_counted_on_a_processor_serve_a_network_elsewhere() -> None:
    bins = ColourBins(20, 5).to("meta")
    bins.measured(torch.eye(len(bins), dtype=torch.float64), 0.5)
    assert bins.wanted.device.type == "meta"
