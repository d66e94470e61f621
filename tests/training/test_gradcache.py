"""The gradient of a batch: what is drawn at random follows from the step, not from what was drawn before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract_parts import batch_of, everything_scanned, made, one_step


@pytest.mark.parametrize("micro", [8, 4])
def test_a_target_that_draws_is_the_same_after_a_restart(photos: Path, micro: int) -> None:
    method, found = made("byol"), []
    batch = batch_of(method, everything_scanned(photos), 8)
    method.targets = lambda part: {"target": torch.rand(len(part["index"]), 2, method.width)}  # type: ignore[method-assign]
    for seed in (1, 2):  # of the global generator, as the process left it
        torch.manual_seed(seed)
        found.append(one_step(method, batch, micro)[1]["target"])
    assert torch.equal(found[0], found[1])
