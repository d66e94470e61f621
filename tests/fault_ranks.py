"""One rank of two whose second meets a NaN at its second step, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from contract_parts import everything_scanned, recipe_of, trainer_of

from selfsight import distributed
from selfsight.training import state


def run(rank: int, port: int, photos: Path, folder: Path) -> None:
    """Three steps; exit code 1 when the bad one changed anything, or a good one did not."""
    numbers = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in numbers.items()})
    distributed.join()
    found = [os.environ[name] for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")]
    assert found == [str(rank), "2", "0"]  # they are on one machine
    manifest = everything_scanned(photos)
    recipe = recipe_of("moco", photos, manifest, steps=3, world=2, micro_batch=4)
    trainer = trainer_of(recipe, manifest, folder, save=3600.0)
    honest = trainer.step

    def step(number: int, batch: dict[str, Any]) -> None:
        if number == 1 and rank == 1:
            views = batch["views"].permute(0, 1, 4, 2, 3).float() / 255
            views[2, 0, 0, 0, 0] = float("nan")
            batch = {**batch, "views": views}
        before = state.pack(trainer.method, trainer.raw_optimizer)
        honest(number, batch)
        assert (before == state.pack(trainer.method, trainer.raw_optimizer)) == (number == 1)

    trainer.step = step  # type: ignore[method-assign]
    trainer.fit()
    assert all(bool(torch.isfinite(p).all()) for p in trainer.method.parameters())
