"""A safetensors file is read, and one whose header alone would fill the memory is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from selfsight.nn import tensors


def test_tensors_come_back_and_a_long_header_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "good.safetensors")
    assert tensors.tensors_of(tmp_path / "good.safetensors")["a"].tolist() == [0, 1, 2]
    names = b",".join(b'"%06d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % number for number in range(100_000))
    (tmp_path / "long.safetensors").write_bytes((len(names) + 2).to_bytes(8, "little") + b"{" + names + b"}")
    with pytest.raises(ValueError, match=r"header of long\.safetensors is longer"):
        tensors.tensors_of(tmp_path / "long.safetensors")
