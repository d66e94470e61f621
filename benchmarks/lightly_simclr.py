"""How fast lightly's plain PyTorch SimCLR trains on a folder: the opponent of our own end-to-end figure.

The parts are those of lightly's documented example (LightlyDataset, SimCLRTransform, SimCLRProjectionHead, NTXentLoss,
SGD 0.06), with the encoder (timm's, as ours), the view size and the batch that our figure uses. Run it as
`python benchmarks/lightly_simclr.py FOLDER --precision bf16 --steps 20`; it prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # no look-up of its newest version

from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform

from selfsight.nn.architectures import arguments_for, stride_for


@dataclass(frozen=True)
class Measured:
    """Speed of `steps` whole steps, views and loading included."""

    images_per_second: float
    steps: int
    batch: int
    size: int
    precision: str
    workers: int
    threads: int


class SimCLR(nn.Module):
    """A timm network without classifier, and lightly's head."""

    def __init__(self, encoder: str, size: int) -> None:
        super().__init__()
        stride = stride_for(encoder, size)
        self.backbone = timm.create_model(encoder, num_classes=0, **arguments_for(encoder, size, stride=stride))
        width = int(self.backbone.num_features)
        self.head = SimCLRProjectionHead(width, 512, 128)

    def forward(self, views: Tensor) -> Tensor:
        """Projections (B, 128)."""
        projections: Tensor = self.head(self.backbone(views))
        return projections


def loader(folder: Path, *, size: int, batch: int, workers: int, transform: object = None) -> DataLoader[object]:
    """Pairs of views of the pictures below `folder`, shuffled, full batches only."""
    dataset = LightlyDataset(str(folder), transform=transform or SimCLRTransform(input_size=size))
    return DataLoader(
        dataset, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )


def endless(batches: DataLoader[object]) -> Iterator[list[Tensor]]:
    """Epoch after epoch, as the example's loop does."""
    while True:
        for views, *_ in batches:
            yield views


def measure(
    folder: Path,
    *,
    encoder: str = "resnet18",
    precision: str = "fp32",
    size: int = 64,
    batch: int = 128,
    steps: int = 20,
    warmup: int = 3,
    workers: int = 0,
    threads: int | None = None,
) -> Measured:
    """Train for `warmup` + `steps` steps and time the latter. `precision` is fp32 (the example's default) or bf16."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, criterion = SimCLR(encoder, size), NTXentLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    batches = endless(loader(folder, size=size, batch=batch, workers=workers))
    started = time.perf_counter()
    for step in range(warmup + steps):
        if step == warmup:
            started = time.perf_counter()
        first, second = next(batches)[:2]
        with autocast(precision):
            loss = criterion(model(first), model(second))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    speed = steps * batch / (time.perf_counter() - started)
    return Measured(speed, steps, batch, size, precision, workers, torch.get_num_threads())


def autocast(precision: str) -> AbstractContextManager[object]:
    """Mixed bf16, or nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    for name, default in (("size", 64), ("batch", 128), ("steps", 20), ("warmup", 3), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=None)
    options = vars(parser.parse_args())
    print(json.dumps(asdict(measure(options.pop("folder"), **options))))


if __name__ == "__main__":
    main()
