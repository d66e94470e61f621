"""Which look's encoder is kept: the last one's, or that of the best label-free score. It lives in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import torch
from safetensors.torch import load
from torch import Tensor

from selfsight.nn.embedder import Embedder
from selfsight.training.state import serialised

__all__ = ["KEEPS", "Best"]

KEEPS = {"last": None, "best-rankme": "rankme"}  # --keep, and the monitor's number that it goes by; more is better
FILE = "best.safetensors"


class Best:
    """The encoder of the best look so far; of equal ones the first. With `last` it holds nothing."""

    def __init__(self, keep: str) -> None:
        self.score = KEEPS[keep]
        self.value, self.step = -inf, 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, step: int, seen: Mapping[str, float], encoder: Embedder) -> bool:
        """Take the encoder as it stands if its score beats all before; the untrained one (step 0) is never taken."""
        if self.score is None or step == 0 or seen.get(self.score, -inf) <= self.value:
            return False
        self.value, self.step = float(seen[self.score]), step
        self.weights = {name: t.detach().cpu().contiguous().clone() for name, t in encoder.state_dict().items()}
        return True

    def pack(self) -> dict[str, bytearray]:
        """What a checkpoint keeps of it."""
        if not self.weights:
            return {}
        found = {"value": torch.tensor(self.value, dtype=torch.float64), "step": torch.tensor(self.step)}
        return {FILE: serialised(found | {f"encoder.{name}": tensor for name, tensor in self.weights.items()})}

    def unpack(self, files: Mapping[str, bytes]) -> None:
        """Put it back from a checkpoint's files."""
        if self.score is None or FILE not in files:
            return
        found = load(files[FILE])
        self.value, self.step = float(found.pop("value")), int(found.pop("step"))
        self.weights = {name.removeprefix("encoder."): tensor for name, tensor in found.items()}

    def install(self, encoder: Embedder) -> None:
        """Give the encoder the weights that are kept, once training has ended."""
        if self.weights:
            encoder.load_state_dict(self.weights)
