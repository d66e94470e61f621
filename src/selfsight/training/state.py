"""Everything a step changes, as bytes and back: weights, buffers, optimizer. Safetensors, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from selfsight.errors import CheckpointError

__all__ = ["forget", "pack", "unpack"]


def pack(method: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, bytes]:
    """Two files: `method.safetensors` and `optimizer.safetensors` (`<parameter number>.<name>`)."""
    slots = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                slots[f"{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    return {"method.safetensors": save(_own(method)), "optimizer.safetensors": save(slots)}


def unpack(files: Mapping[str, bytes], method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put everything back, bit for bit; CheckpointError when the files belong to another network."""
    try:
        method.load_state_dict(load(files["method.safetensors"]))
        state: dict[int, dict[str, Any]] = {}
        for key, value in load(files["optimizer.safetensors"]).items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint does not fit this method and encoder: {str(error)[:300]}") from error


def forget(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Drop the optimizer's memory of a module that was made anew in place."""
    for parameter in module.parameters():
        optimizer.state.pop(parameter, None)


def _own(method: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
