"""Alone everything is the identity; on two ranks the gather carries the gradient of the whole."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import distributed_ranks
import pytest
import torch
from mortal import joined

from selfsight import distributed
from selfsight.errors import TrainingError


def test_alone_everything_is_the_identity() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert distributed.world() == 1
    assert distributed.rank() == 0
    assert distributed.gather(rows) is rows
    assert distributed.mean(torch.tensor(6.0), 3) == 2.0
    assert torch.equal(distributed.largest(torch.tensor([1.0, 0.0])), torch.tensor([1.0, 0.0]))
    assert torch.equal(distributed.average(torch.tensor([1.0, 3.0])), torch.tensor([1.0, 3.0]))
    assert torch.equal(distributed.of_first(lambda part: rows.detach()[part], (3, 2)), rows)
    distributed.copy_first(rows)


@pytest.mark.parametrize("backend", ["gloo", "cuda:gloo"])
def test_two_ranks(backend: str, tmp_path: Path) -> None:
    """What the ranks check is in `distributed_ranks`: it runs in processes of their own.

    Who made them meet, such as Ray, may have thought of tensors on GPUs alone.
    """
    forked, place = multiprocessing.get_context("forkserver"), str(tmp_path / "meet")
    ranks = [forked.Process(target=distributed_ranks.check, args=(rank, place, backend)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    if joined(*ranks) != [0, 0]:
        pytest.fail("a rank found a difference; its traceback is above")


def test_half_of_what_a_launcher_sets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(TrainingError, match="WORLD_SIZE is 2 and RANK is not set; use torchrun, or unset WORLD_SIZE"):
        distributed.join()
