"""What boxes share with each other and with the picture they lie in: targets that need no label.

A box is top, left, height, width in pixels. Integer boxes give torch's default precision, others their own.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["answers", "covered_share", "pair_iou", "pairs"]

AT_ONCE = 512  # pictures whose pixels are counted at once


def pairs(count: int, device: torch.device | None = None) -> Tensor:
    """(2, M): the M = K (K - 1) / 2 unordered pairs (0, 1), (0, 2), ... in the order of itertools.combinations."""
    return torch.triu_indices(count, count, offset=1, device=device)


def answers(
    boxes: Shaped[Tensor, "B K 4"], side: int, *, released: bool = False
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B"]]:
    """What VDVS asks of boxes in square pictures: the IoUs of pairs and the covered shares.

    As `released`, an IoU or a share of 1 is told as 0: the histogram of the released code has no place for it.
    """
    overlap = pair_iou(boxes)
    covered = torch.cat([covered_share(part, side, side) for part in torch.split(boxes, AT_ONCE)])
    return (overlap * (overlap < 1), covered * (covered < 1)) if released else (overlap, covered)


def pair_iou(boxes: Shaped[Tensor, "B K 4"]) -> Float[Tensor, "B M"]:
    """Intersection over union of every pair of boxes."""
    start, side = boxes[..., :2], boxes[..., 2:]
    first, second = pairs(boxes.shape[1], boxes.device)
    ends = torch.minimum((start + side)[:, first], (start + side)[:, second])
    overlap = (ends - torch.maximum(start[:, first], start[:, second])).clamp(min=0).prod(dim=-1)  # (B, M)
    area = side.prod(dim=-1)
    return overlap / (area[:, first] + area[:, second] - overlap)


def covered_share(boxes: Shaped[Tensor, "B K 4"], height: int, width: int) -> Float[Tensor, "B"]:
    """Share of the pixels that lie in at least one box: the IoU of the boxes' union with the whole picture."""
    top, left, tall, wide = boxes[..., None].unbind(dim=2)  # (B, K, 1) each
    rows, columns = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    down = (rows >= top) & (rows < top + tall)  # (B, K, H)
    across = (columns >= left) & (columns < left + wide)  # (B, K, W)
    over = down.float().mT @ across.float()  # (B, H, W): how many boxes a pixel lies in
    return (over > 0).sum(dim=(1, 2)).to(boxes.dtype) / (height * width)
