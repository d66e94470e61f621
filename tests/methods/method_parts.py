"""What the tests of methods share: a tiny encoder and a batch of fixed views."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from selfsight.methods.base import Batch, Facts, Method, Prepared
from selfsight.views.draw import Views


class TinyEncoder(nn.Module):
    """A convolution, batch norm and a pooled map; integer (B, H, W, C) in, (B, width) out."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width, self.size = width, 32
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()
        )

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.movedim(-1, 1).float() / 127.5 - 1
        return self.body(x).mean(dim=(2, 3))

    def check(self, size: int) -> None:
        """Views of any size will do."""


def batch_of(count: int, seed: int = 0, side: int = 16, position: int = 0) -> Batch:
    """`count` pictures, two noisy views of each."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 1, 4, 4, 3), generator=generator)
    large = pictures.repeat_interleave(side // 4, dim=2).repeat_interleave(side // 4, dim=3)
    noise = torch.randint(-20, 21, (count, 2, side, side, 3), generator=generator)
    views = (large + noise).clamp(0, 255).to(torch.uint8)
    place = torch.arange(position, position + count)
    return {"views": views, "index": place, "label": torch.full((count,), -1), "position": place}


def one_step(method: Method, batch: Batch, optimizer: torch.optim.Optimizer | None = None) -> float:
    """One step as the loop makes it; without optimizer only the state moves."""
    with torch.no_grad():
        targets = method.targets(batch)
    projections = {**method.project(batch), **targets}
    loss = method.loss(projections, batch)["loss"]
    if optimizer is not None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.on_step_end({name: tensor.detach() for name, tensor in projections.items()}, batch)
    return loss.item()


def counted(part: nn.Module) -> int:
    """How many numbers of it are trained."""
    return sum(p.numel() for p in part.parameters() if p.requires_grad)


def resolved(kind: type[Method], size: int, count: int = 10**6, batch: int = 128, **given: object) -> dict[str, object]:
    """The settings that are automatic for views of `size`, each of which has a reason."""
    found = kind.resolve(given, Facts(count=count, batch=batch, size=size, channels=3, classes=0))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def batch_from(views: Views, pictures: Iterable[np.ndarray], generator: np.random.Generator) -> Batch:
    """What the loader makes of pictures, without the facts that say where they are from."""
    seen = [views(picture, generator) for picture in pictures]
    return {name: torch.from_numpy(np.stack([one[name] for one in seen])) for name in seen[0]}


def accuracy_without_a_clue(
    method: Method, size: int, pictures: Callable[[int, np.random.Generator], Iterable[np.ndarray]], steps: int
) -> float:
    """Accuracy on 480 new pictures after `steps` of training on new ones each: above chance only by a shortcut."""
    generator = np.random.default_rng(0)
    views, optimizer = method.views(size), torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        one_step(method, batch_from(views, pictures(24, generator), generator), optimizer)
    method.eval()
    with torch.no_grad():
        batches = [batch_from(views, pictures(48, generator), generator) for _ in range(10)]
        found = [float(method.loss(method.project(batch), batch)["accuracy"]) for batch in batches]
    return float(np.mean(found))


def said_before_training(method: Method, pictures: list[np.ndarray]) -> list[str]:
    """What `prepare` says of pictures; it changes nothing."""
    said: list[str] = []
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.prepare(Prepared(0, torch.full((len(pictures),), -1), lambda k=1: iter(pictures[::k]), list, said.append))
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    return said


def every_tap_learns(method: Method, batch: Batch) -> bool:
    """Whether each place of every kernel of a ResNet's last stage has a gradient: what is embedded is the whole view,
    whose map has more positions than one, and none may stay at random."""
    method.loss(method.project(batch), batch)["loss"].backward()
    kernels = [p.grad.abs().sum(dim=(0, 1)) for p in method.encoder.backbone.layer4.parameters() if p.ndim == 4]
    assert {tuple(taps.shape) for taps in kernels} == {(3, 3), (1, 1)}
    return all(bool((taps > 0).all()) for taps in kernels)
