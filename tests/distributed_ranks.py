"""What two ranks must find of `selfsight.distributed`, each in a process of its own."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from selfsight import distributed

WORLD = 2


def whole_loss(rows: Tensor, anchors: slice) -> Tensor:
    """A loss that mixes every row with every other, mean over the anchors."""
    return torch.logsumexp(rows[anchors] @ rows.T, dim=1).mean()


def check(rank: int, place: str, backend: str) -> None:
    dist.init_process_group(backend, init_method=f"file://{place}", rank=rank, world_size=WORLD)
    check_gather(rank)
    check_means(rank)
    with distributed.first_goes_ahead():
        planned = rank == 0
    assert planned == (rank == 0)
    dist.destroy_process_group()


def check_gather(rank: int) -> None:
    """The ranks' gradients, averaged as DDP averages them, are the gradient of the whole batch on one rank."""
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.eye(3, dtype=torch.float64).requires_grad_()
    whole_loss(rows @ weight, slice(0, 8)).backward()
    expected = weight.grad.clone()
    weight.grad = None
    own = rows[4 * rank : 4 * rank + 4] @ weight
    everyone = distributed.gather(own)
    assert torch.equal(everyone.detach(), rows)
    whole_loss(everyone, slice(4 * rank, 4 * rank + 4)).backward()
    torch.testing.assert_close(distributed.average(weight.grad), expected, rtol=1e-12, atol=0)
    index = torch.arange(4) + 4 * rank
    assert distributed.gather(index).tolist() == list(range(8))


def check_means(rank: int) -> None:
    total, count = torch.tensor(3.0 + rank), 1 + 2 * rank  # 3 of 1 anchor, 4 of 3
    mean = distributed.mean(total, count)
    assert float(distributed.average(mean.reshape(1))) == 7 / 4
    assert distributed.largest(torch.tensor([rank, 1.0 - rank])).tolist() == [1.0, 1.0]
    assert distributed.average(torch.tensor([1.0 + rank])).tolist() == [1.5]
    rows = torch.arange(2.0 * (distributed.ROWS + 3)).reshape(-1, 2)
    assert torch.equal(distributed.of_first(lambda part: rows[part] + rank, tuple(rows.shape)), rows)
    distributed.wait_for_first()
    for start in (torch.tensor([1.5]), torch.tensor(4)):
        buffer = start + rank
        distributed.copy_first(buffer)
        assert torch.equal(buffer, start)
    assert (distributed.rank(), distributed.world()) == (rank, WORLD)
