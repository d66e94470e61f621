"""Everything a step changes, as bytes and back: weights, buffers, optimizer. Safetensors, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from selfsight.errors import CheckpointError, brief
from selfsight.training.optimizers import SLOTS

__all__ = ["bytes_of", "forget", "not_finite", "pack", "serialised", "unpack"]

TYPES = {  # names of the format, in the order in which it lays tensors down
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def pack(
    method: nn.Module, optimizer: torch.optim.Optimizer, room: Mapping[str, bytearray] | None = None
) -> dict[str, bytearray]:
    """Two files: `method.safetensors` and `optimizer.safetensors` (`<parameter number>.<name>`).

    `room` is what was packed before and is needed no more: it is written over.
    """
    slots = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                slots[f"{number}.{name}"] = torch.as_tensor(value)
    parts = {"method.safetensors": method.state_dict(), "optimizer.safetensors": slots}
    return {name: serialised(tensors, (room or {}).get(name)) for name, tensors in parts.items()}


def bytes_of(method: nn.Module, optimizer: str) -> int:
    """What `pack` gives once an optimizer of this name has begun, but for the heads of its files."""
    trained: int = sum(parameter.nbytes for parameter in method.parameters() if parameter.requires_grad)
    kept: int = sum(tensor.nbytes for tensor in method.state_dict().values())
    return kept + SLOTS[optimizer] * trained


def serialised(tensors: Mapping[str, Tensor], room: bytearray | None = None) -> bytearray:
    """A safetensors file in memory, written over `room` where that has its size. The tensors are copied once.

    Byte for byte what `safetensors.torch.save` gives, which copies three times, to memory that is new each time.
    """
    order = list(TYPES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    entries, ends = {}, [0]
    for name in names:
        ends.append(ends[-1] + tensors[name].nbytes)
        kind, shape = TYPES[tensors[name].dtype], list(tensors[name].shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": ends[-2:]}
    head = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    first = 8 + len(head)
    file = room if room is not None and len(room) == first + ends[-1] else bytearray(first + ends[-1])
    file[:first] = len(head).to_bytes(8, "little") + head
    content = torch.frombuffer(file, dtype=torch.uint8)
    for name, start, end in zip(names, ends[:-1], ends[1:], strict=True):
        tensor = tensors[name].detach()
        content[first + start : first + end].view(tensor.dtype).view(tensor.shape).copy_(tensor)
    return file


def unpack(files: Mapping[str, bytes], method: nn.Module, optimizer: torch.optim.Optimizer, where: Path) -> None:
    """Put a checkpoint's content back, bit for bit; CheckpointError when it is another network's or not finite."""
    try:
        kept = load(files["method.safetensors"])
        if (spoiled := not_finite(kept)) is not None:
            raise CheckpointError(
                f"checkpoint {str(where)!r}: {spoiled!r} is not finite; remove this checkpoint, and the same command "
                "goes on from the one before"
            )
        method.load_state_dict(kept)
        state: dict[int, dict[str, Any]] = {}
        for key, value in load(files["optimizer.safetensors"]).items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        _lay_down(optimizer)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {str(where)!r} does not fit this method and encoder ({brief(error)}); train anew with another "
            "--out"
        ) from error


def _lay_down(optimizer: torch.optim.Optimizer) -> None:
    """In memory as the parameters lie: files know one order, and a fused step goes through both side by side."""
    for parameter, slots in optimizer.state.items():
        for name, slot in slots.items():
            if isinstance(slot, Tensor) and slot.shape == parameter.shape and slot.stride() != parameter.stride():
                slots[name] = torch.empty_like(parameter, dtype=slot.dtype).copy_(slot)


def forget(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Drop the optimizer's memory of a module that was made anew in place."""
    for parameter in module.parameters():
        optimizer.state.pop(parameter, None)


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or an infinity, or None."""
    spoiled = (name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all()))
    return next(spoiled, None)
