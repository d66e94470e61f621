"""Ranks: who am I, gather with gradient, means over ranks. Everything is the identity when there is one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from selfsight.errors import TrainingError

__all__ = [
    "alone",
    "average",
    "copy_first",
    "everyones",
    "first_goes_ahead",
    "gather",
    "join",
    "largest",
    "mean",
    "of_first",
    "rank",
    "wait_for_first",
    "world",
]

PATIENCE = timedelta(hours=2)  # for rank 0 to scan the pictures and plan
LOOK_PATIENCE = timedelta(minutes=20)  # for what rank 0 measures and writes alone while training
STEP_PATIENCE = timedelta(seconds=120)  # for another rank in training: one that died is noticed
PORT = "29500"  # at which ranks meet where their launcher names none: torchrun's own
ROWS = 256  # of `of_first` at once: a batch of `embed`, whose bounds stay as on one rank


_alone = False


def world() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _alone else 1


@contextmanager
def alone() -> Iterator[None]:
    """In the block (or function) this process is the only one: what one rank tries out must not wait for the others."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


class _Gather(torch.autograd.Function):
    """Forward: concatenate over ranks. Backward: sum over ranks, then this rank's slice (DDP averages afterwards)."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.rows = len(local)
        parts = [torch.empty_like(local) for _ in range(world())]
        dist.all_gather(parts, local.contiguous(), group=_way(local))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous()
        dist.all_reduce(total, group=_way(total))
        start = rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather(local: Float[Tensor, "N ..."]) -> Float[Tensor, "W*N ..."]:
    """Rows of all ranks in rank order, with gradient; every rank holds the same number of rows."""
    if world() == 1:
        return local
    gathered: Tensor = _Gather.apply(local)
    return gathered


def mean(total: Float[Tensor, ""], count: Tensor | float) -> Float[Tensor, ""]:
    """Mean over all ranks' anchors when their number varies: W * total / sum of counts.

    DDP averages the gradients over ranks, so the factor W makes the result the mean over every anchor.
    """
    if world() == 1:
        return total / count
    everyone = torch.as_tensor(count, dtype=total.dtype, device=total.device).clone()
    dist.all_reduce(everyone, group=_way(everyone))
    return world() * total / everyone


def largest(flags: Float[Tensor, "F"]) -> Float[Tensor, "F"]:
    """Element-wise maximum over ranks: one rank's wish is everybody's."""
    if world() > 1:
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=_way(flags))
    return flags


def average(values: Float[Tensor, "F"]) -> Float[Tensor, "F"]:
    """Element-wise mean over ranks, without gradient: what is written down of a step."""
    if world() == 1:
        return values
    everyone = values.detach().clone()
    dist.all_reduce(everyone, group=_way(everyone))
    return everyone / world()


def everyones(value: Any, *, patience: timedelta | None = None) -> list[Any]:
    """What each rank holds, in rank order: small and plain, since it travels by pickle between our own processes.

    `patience` where a rank may come late.
    """
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value, group=_patient(patience or STEP_PATIENCE))
    return found


def copy_first(buffer: Tensor) -> None:
    """Overwrite `buffer` with rank 0's, in place."""
    if world() > 1:
        dist.broadcast(buffer, src=0, group=_way(buffer))


def of_first(compute: Callable[[slice], Tensor], shape: tuple[int, int]) -> Float[Tensor, "N D"]:
    """Rows that rank 0 computes, on every rank: float32 of this shape. For what depends on a rank's own state.

    They come a few at a time: nobody waits for longer than those take.
    """
    if world() == 1:
        return compute(slice(0, shape[0]))
    found = torch.zeros(shape)
    for start in range(0, shape[0], ROWS):
        part = found[start : start + ROWS]
        if rank() == 0:
            part.copy_(compute(slice(start, start + ROWS)))
        dist.broadcast(part, src=0, group=_way(part))
    return found


def wait_for_first() -> None:
    """Until rank 0 comes here too: what it alone measures or writes may take it longer than a step."""
    if world() > 1:
        dist.broadcast(torch.zeros(1), src=0, group=_patient(LOOK_PATIENCE))


def _way(tensor: Tensor) -> Any:
    """The group by which it travels: ranks that others made meet may have one for GPUs alone, and wait half an hour."""
    return _patient(STEP_PATIENCE) if tensor.device.type == "cpu" else None


@lru_cache
def _patient(patience: timedelta) -> Any:
    """A group of all ranks that wait so long for each other; one that dies is noticed at once all the same."""
    return dist.new_group(backend="gloo", timeout=patience)


def join() -> None:
    """Meet the ranks that a launcher started; nothing when there is one. Flags travel by gloo, gradients by the GPUs.

    RANK, WORLD_SIZE and MASTER_ADDR will do: which ranks share a machine follows from its name. Raises TrainingError
    without them.
    """
    if (count := int(os.environ.get("WORLD_SIZE", "1"))) <= 1:
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR") if name not in os.environ]:
        raise TrainingError(f"WORLD_SIZE is {count} and {missing[0]} is not set; use torchrun, or unset WORLD_SIZE")
    os.environ.setdefault("MASTER_PORT", PORT)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, timeout=STEP_PATIENCE)
    machines = everyones(socket.gethostname())
    own = machines[rank()]
    os.environ.setdefault("LOCAL_RANK", str(machines[: rank()].count(own)))
    os.environ.setdefault("LOCAL_WORLD_SIZE", str(machines.count(own)))
    os.environ.setdefault("GROUP_RANK", str(list(dict.fromkeys(machines)).index(own)))


@contextmanager
def first_goes_ahead() -> Iterator[None]:
    """Every rank leaves the block together; when rank 0 fails in it, the others fail at once instead of waiting.

    Reading a large set may take rank 0 long: this wait, and only this, has `PATIENCE`.
    """
    failed = torch.ones(1)
    waiting = _patient(PATIENCE) if world() > 1 else None
    try:
        yield
        failed = torch.zeros(1)
    finally:
        if world() > 1:
            dist.broadcast(failed, src=0, group=waiting)
            if rank() > 0 and bool(failed):
                raise TrainingError("rank 0 stopped before training began; its message says why")
