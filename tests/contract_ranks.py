"""One rank of a short run with frozen norms, in a process of its own: what it saw, its gradients and its state.

In float64, all of it: rounding would hide what is looked for, since frozen norms make the gradients small.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import contract_driver  # the contract method joins the registry
import torch
from contract_parts import everything_scanned, freeze_norms, trainer_of
from safetensors.torch import save_file
from torch import Tensor

from selfsight import distributed
from selfsight.recipe import Recipe
from selfsight.training.ranks import shared


def run(
    rank: int,
    world: int,
    port: int,
    photos: Path,
    recipe_file: Path,
    folder: Path,
    micro: int | None,
    until: int | None,
) -> None:
    """Train to the end, or to a checkpoint of step `until`, as rank `rank` of `world`, in torchrun's environment.

    Without `micro` the recipe is taken as a run takes it that was begun on another number of ranks.
    """
    if world > 1:
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "contract"}
        os.environ.update({name: str(value) for name, value in {**numbers, **place}.items()})
        distributed.join()
    assert distributed.world() == world
    contract_driver.narrow()
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    recipe = Recipe.from_yaml(recipe_file)
    recipe = replace(recipe, world=world, micro_batch=micro) if micro else shared(recipe, everything_scanned(photos))
    trainer = trainer_of(recipe, everything_scanned(photos), folder, workers=rank, save=3600.0)
    method = freeze_norms(trainer.method)
    gradients: dict[str, Tensor] = {}
    seen: list[list[int]] = []
    honest, after = trainer.gradient, trainer.after

    def gradient(step: int, batch: dict[str, Tensor]) -> object:
        found = honest(step, batch)
        gradients.update(
            {f"{step}.{key}": p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        )
        seen.append(batch["index"].tolist())
        return found

    def stopping(step: int, signals: Any) -> None:
        after(step, signals)
        if step == until:
            trainer.save(step)
            raise KeyboardInterrupt

    trainer.gradient, trainer.after = gradient, stopping  # type: ignore[method-assign, assignment]
    with suppress(KeyboardInterrupt):
        trainer.fit()
    save_file(gradients, folder / f"gradients-{rank}.safetensors")
    state = {key: tensor.contiguous().clone() for key, tensor in method.state_dict().items()}
    save_file(state, folder / f"state-{rank}.safetensors")
    (folder / f"seen-{rank}.json").write_text(json.dumps(seen))
