"""Split batch norm: one device behaves like several, so that batch statistics do not give the answer away.

Query and key of an image that share batch statistics can be matched by them. Several devices avoid this by permuting
the keys across devices before the key encoder. On one device a permutation changes nothing unless the batch is split
into groups with statistics of their own (He et al. 2020, CIFAR-10 notebook; without it 800 epochs lose 4 points).
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import batch_norm

__all__ = ["SplitBatchNorm", "shuffle", "split_batch_norm", "splits_for"]


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch norm whose sample n is normalised with the statistics of group n mod `splits`; in eval mode plain.

    The running statistics are the mean of the groups'. A batch that `splits` does not divide, or that would leave one
    sample to a group, is split into the next smaller number of groups that fits; the last resort is one.
    """

    def __init__(self, width: int, splits: int, *, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__(width, eps=eps, momentum=momentum)
        self.splits = splits
        self.drop: nn.Module = nn.Identity()  # timm's norm layers carry these two; they keep their place and names
        self.act: nn.Module = nn.Identity()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise, then the activation that came with the converted layer."""
        splits = self._groups(len(x)) if self.training else 1
        normed = self._split(x, splits) if splits > 1 else super().forward(x)
        return cast(Tensor, self.act(self.drop(normed)))

    def _groups(self, count: int) -> int:
        return next((s for s in range(self.splits, 1, -1) if count % s == 0 and count > s), 1)

    def _split(self, x: Tensor, splits: int) -> Tensor:
        folded = x.reshape(len(x) // splits, splits * self.num_features, *x.shape[2:])  # (B/S, S*C, H, W)
        mean, var = self.running_mean, self.running_var
        means, variances = (None if t is None else t.repeat(splits) for t in (mean, var))
        weight, bias = (None if p is None else p.repeat(splits) for p in (self.weight, self.bias))
        out = batch_norm(folded, means, variances, weight, bias, True, self._rate(), self.eps)
        for running, groups in ((mean, means), (var, variances)):
            if running is not None and groups is not None:
                running.copy_(groups.view(splits, -1).mean(dim=0))
        return out.reshape(x.shape)

    def _rate(self) -> float:
        if self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Turn every `BatchNorm2d` inside `module` into a `SplitBatchNorm`, in place.

    Parameters, buffers and names stay the same, so `state_dict` still loads into the plain network.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _converted(child, splits))
        else:
            split_batch_norm(child, splits)
    return module


def _converted(norm: nn.BatchNorm2d, splits: int) -> SplitBatchNorm:
    made = SplitBatchNorm(norm.num_features, splits, eps=norm.eps, momentum=norm.momentum).train(norm.training)
    made.affine, made.track_running_stats = norm.affine, norm.track_running_stats
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(made, name, getattr(norm, name))
    for name in ("drop", "act"):
        setattr(made, name, getattr(norm, name, nn.Identity()))
    return made


def splits_for(batch: int) -> tuple[int, str]:
    """How many groups, with the reason: equal ones of 64 (the notebook: 8 at batch 512), but two at least.

    `batch` is what the network sees at once: the micro-batch of one rank, not the global batch.
    """
    splits = next((s for s in range(max(2, batch // 64), 1, -1) if batch % s == 0 and batch > s), 1)
    reason = (
        f"groups of {batch // splits}; He et al. 2020 use 64"
        if splits > 1
        else f"{batch} pictures make no equal groups"
    )
    return splits, reason


def shuffle(count: int, key: int) -> tuple[Int[Tensor, "B"], Int[Tensor, "B"]]:
    """A permutation and its inverse, the same for the same key on every machine of one torch build."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(key))
    return order, order.argsort()
