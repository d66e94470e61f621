"""What every loss over two views of a batch must keep to: gradients, permutations, zeros, autocast, ranks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfsight.losses.cross_correlation import cross_correlation
from selfsight.losses.cross_view import cross_view_cosine
from selfsight.losses.decoupled import decoupled
from selfsight.losses.matching import matching
from selfsight.losses.precision import unit
from selfsight.losses.sigreg import sigreg
from selfsight.losses.spread import spread
from selfsight.losses.variance_covariance import covariance, variance

Loss = Callable[..., Tensor]
Pool = tuple[Tensor, int]
"""All ranks' views, and the row at which this rank's begin."""
DIRECTIONS = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def pairs(views: Tensor, pool: Pool | None, sigma: float | None = None) -> Tensor:
    everyone, offset = (unit(pool[0]).unbind(1), pool[1]) if pool else (None, 0)
    return decoupled(*unit(views).unbind(1), temperature=0.3, sigma=sigma, candidates=everyone, offset=offset)


def matched(views: Tensor, pool: Pool | None) -> Tensor:
    rows, candidates = unit(views).unbind(1)
    everyone, offset = (unit(pool[0])[:, 1], pool[1]) if pool else (candidates, 0)
    return matching(rows, everyone, temperature=0.3, offset=offset)


LOCAL: dict[str, Loss] = {  # anchors are a rank's, candidates all ranks'
    "cosine": lambda views, pool=None: cross_view_cosine(unit(views), unit(views.flip(1) ** 3)),
    "decoupled": lambda views, pool=None: pairs(views, pool),
    "weighted": lambda views, pool=None: pairs(views, pool, 0.5),
    "matching": lambda views, pool=None: matched(views, pool),
    "spread": lambda views, pool=None: spread(views, 2),
}
WHOLE: dict[str, Loss] = {  # over the batch of all ranks
    "correlation": lambda views: sum(x * w for x, w in zip(cross_correlation(*views.unbind(1)), (1, 0.1), strict=True)),
    "variance": lambda views: variance(views[:, 0]) + variance(views[:, 1]),
    "covariance": lambda views: covariance(views[:, 0]),
    "sigreg": lambda views: sigreg(views.transpose(0, 1), unit(DIRECTIONS.to(views.dtype).T).T),
}
EVERY = LOCAL | WHOLE
PURE = [name for name in EVERY if name != "weighted"]  # whose weights have no gradient


def views_of(count: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 2, 4, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize("name", PURE)
def test_gradient_by_central_differences(name: str) -> None:
    assert torch.autograd.gradcheck(EVERY[name], [views_of(4)], atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_a_common_permutation_changes_nothing(name: str) -> None:
    views = views_of().detach()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(EVERY[name](views[order]), EVERY[name](views))


@pytest.mark.parametrize("name", ["cosine", "decoupled", "weighted", "matching"])
def test_lengths_change_nothing(name: str) -> None:
    views = views_of().detach()
    torch.testing.assert_close(EVERY[name](views * torch.tensor([3.0, 0.1])[:, None]), EVERY[name](views))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("name", EVERY)
def test_zero_and_identical_rows_are_finite(name: str, value: float) -> None:
    views = torch.full((4, 2, 4), value, requires_grad=True)
    loss = EVERY[name](views)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(views.grad).all()


@pytest.mark.parametrize("name", EVERY)
def test_autocast_computes_in_float32(name: str) -> None:
    views = views_of(dtype=torch.float32).detach()
    expected = EVERY[name](views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = EVERY[name](views)
        half = EVERY[name](views.bfloat16())
    assert found.dtype == half.dtype == torch.float32
    assert found.item() == expected.item()


@pytest.mark.parametrize("name", LOCAL)
def test_the_mean_of_the_ranks_is_one_rank(name: str) -> None:
    """What is over the whole batch is computed from gathered rows: tests/test_contract_ranks.py has it."""
    views = views_of()
    whole = LOCAL[name](views)
    shared = torch.stack([LOCAL[name](views[first : first + 3], (views, first)) for first in (0, 3)]).mean()
    torch.testing.assert_close(shared, whole)
    torch.testing.assert_close(*(torch.autograd.grad(loss, views)[0] for loss in (shared, whole)))
