"""A teacher: a copy that no gradient reaches and that follows its student slowly.

Only parameters are averaged. The teacher runs in train mode and its batch-norm buffers are its own, as in the reference
code of every paper that has one (He et al. 2020, Grill et al. 2020, Caron et al. 2021, Assran et al. 2023). It drops
nothing at random: Caron et al. drop the student's paths only, and a target must not depend on a generator.
"""

from __future__ import annotations

from copy import deepcopy
from math import cos, pi
from typing import Generic, TypeVar

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["Still", "follow", "frozen_copy", "linear", "momentum"]

Part = TypeVar("Part", bound=nn.Module)


def frozen_copy(module: Part) -> Part:
    """The same module with its own tensors, none of which asks for a gradient; without dropout, in train mode too."""
    copy = deepcopy(module).requires_grad_(False)
    for part in copy.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(getattr(part, "drop_prob", None), float):  # timm's, of paths and of blocks
            part.drop_prob = 0.0  # type: ignore[assignment]
    return copy


class Still(nn.Module, Generic[Part]):
    """A frozen copy that learns nothing more: `module` is in eval mode whatever mode its owner is in."""

    module: Part

    def __init__(self, module: Part) -> None:
        super().__init__()
        self.module = frozen_copy(module).eval()

    def train(self, mode: bool = True) -> Still[Part]:
        """Stay in eval mode."""
        super().train(False)
        return self


def momentum(progress: float, start: float, end: float = 1.0) -> float:
    """A teacher's momentum: 1 - (1 - start)(1 + cos(pi t)) / 2 (Grill et al. 2020, section 3.3), for any `end`."""
    return end - (end - start) * (1 + cos(pi * progress)) / 2


def linear(share: float, start: float, end: float) -> float:
    """From `start` to `end` while `share` goes from 0 to 1, and `end` from there on."""
    return start + min(1.0, share) * (end - start)


def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, in place, for all parameters at once.

    Call it after the optimizer's step. Raises ValueError for a momentum outside [0, 1].
    """
    average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    average(list(teacher.parameters()), [p.detach() for p in student.parameters()], None)
