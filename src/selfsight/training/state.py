"""Everything a step changes, as bytes and back: weights, buffers, optimizer. Safetensors, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from selfsight.errors import CheckpointError

__all__ = ["forget", "not_finite", "pack", "unpack"]


def pack(method: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, bytes]:
    """Two files: `method.safetensors` and `optimizer.safetensors` (`<parameter number>.<name>`)."""
    slots = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                slots[f"{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    return {"method.safetensors": save(_own(method)), "optimizer.safetensors": save(slots)}


def unpack(files: Mapping[str, bytes], method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put everything back, bit for bit; CheckpointError when it belongs to another network or is not finite."""
    try:
        kept = load(files["method.safetensors"])
        if (spoiled := not_finite(kept)) is not None:
            raise CheckpointError(
                f"the checkpoint's {spoiled!r} is not finite; remove the checkpoint, and the same command goes on from "
                "the one before"
            )
        method.load_state_dict(kept)
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


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or an infinity, or None."""
    spoiled = (name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all()))
    return next(spoiled, None)


def _own(method: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in method.state_dict().items()}
