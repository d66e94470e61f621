"""Tensors out of a safetensors file that may be a stranger's."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

__all__ = ["tensors_of"]

LARGEST = 4 << 20  # bytes of a header; of a network with 10,000 tensors it has two


def tensors_of(file: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises OSError, SafetensorError, and ValueError when the header is longer than any network's."""
    with open(file, "rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    if header > LARGEST:  # parsed, it would take twenty times as much memory
        raise ValueError(f"the header of {file.name} is longer than any network's")
    return load_file(file)
