"""What needs float64 is computed on the CPU: Apple's graphics cards (Metal, `--device mps`) have none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfsight.clusters.kmeans import kmeans, split, spread
from selfsight.clusters.partition import Partition
from selfsight.clusters.sinkhorn import sinkhorn
from selfsight.training.signs import Watched, of_clusters


class OnMetal(Tensor):
    """Stands for a tensor on such a card: nothing made of it may be float64 before `cpu` has brought it home."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_function__(function, types, args, kwargs)
        if function is Tensor.cpu:
            return found.as_subclass(Tensor)
        if isinstance(found, OnMetal) and found.dtype == torch.float64:
            raise TypeError("Metal has no float64")
        return found


class Named(OnMetal):
    """One that also names its device."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function == Tensor.device.__get__:
            return torch.device("mps")
        return super().__torch_function__(function, types, args, kwargs)


def rows() -> Tensor:
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_stand_in_has_no_float64() -> None:
    with pytest.raises(TypeError, match="no float64"):
        rows().as_subclass(OnMetal).double()
    assert rows().as_subclass(OnMetal).cpu().double().dtype == torch.float64


def test_k_means() -> None:
    there = rows().as_subclass(OnMetal)
    begun = spread(there, 4, seeded())
    assert torch.equal(begun.cpu(), spread(rows(), 4, seeded()))
    found, expected = (
        kmeans(one, one[[0, 0, 1, 2]], iterations=3, generator=seeded()) for one in (there, rows())
    )  # of the first two one is empty
    assert torch.equal(found[0].cpu(), expected[0])
    assert torch.equal(found[1].cpu(), expected[1])
    counts = torch.tensor([3, 0, 37, 0])
    parted = split(there[:4], counts.as_subclass(OnMetal), seeded())
    assert torch.equal(parted.cpu(), split(rows()[:4], counts, seeded()))


def test_partitions() -> None:
    found = torch.randint(0, 3, (2, 30), generator=seeded())
    here, there = Partition(30, 3, 2), Partition(30, 3, 2)
    for partition, moved in ((here, found), (there, found.as_subclass(OnMetal))):
        partition.replace(moved)
        partition.replace(moved.flip(1))
    assert torch.equal(here.diagnosis, there.diagnosis)
    there.assignments = there.assignments.as_subclass(OnMetal)
    assert of_clusters(there) == of_clusters(here)


def test_balanced_shares() -> None:
    there = sinkhorn(rows().as_subclass(Named), epsilon=0.5, iterations=3)
    torch.testing.assert_close(there.cpu(), sinkhorn(rows(), epsilon=0.5, iterations=3))


def test_what_has_moved() -> None:
    watched = Watched(nn.ModuleDict({"encoder": nn.Linear(2, 2)}))
    watched.parts = {"moved": ([(3 * rows()).as_subclass(OnMetal)], [rows().as_subclass(OnMetal)])}
    assert watched.moved() == {"moved": pytest.approx(2.0)}
