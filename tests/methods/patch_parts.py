"""What the tests of methods over patches share: a tiny transformer, and batches of real views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight import methods
from selfsight.data.order import Purpose, keyed
from selfsight.methods.base import Batch, Facts, Method, Prepared
from selfsight.nn.encoder import Encoder


def pictures(count: int = 16, channels: int = 3, dtype: type = np.uint8) -> list[np.ndarray]:
    """Blocks of random colours, 40 x 40."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, np.iinfo(dtype).max, (count, 5, 5, channels)).astype(dtype)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


def made(name: str, *, before: Method | None = None, channels: int = 3, high: float = 255.0, **own: Any) -> Method:
    """The method with its automatic settings for 16 pictures, in train mode."""
    kind: Any = methods.get(name)
    settings = {key: p.default for key, p in methods.settings(kind).items()} | own
    found = kind.resolve(settings, Facts(16, 8, 32, channels, 0))
    settings |= {key: value for key, (value, _) in found.items() if settings[key] is None}
    first = kind.first(settings)
    if first and before is None:
        before = made(first, channels=channels, high=high, **kind.first_settings(settings))
    given = {"before": before} if first else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method: Method = kind(Encoder("test_vit", size=32, channels=channels, high=high), **settings, **given)
    return method.train()


def batch_of(method: Method, some: list[np.ndarray], position: int = 0) -> Batch:
    """What the loader makes of the pictures at that position."""
    places = range(position, position + len(some))
    views = method.views(32)
    seen = [views(picture, keyed(0, place, Purpose.VIEWS)) for place, picture in zip(places, some, strict=True)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in seen])) for name in seen[0]}
    return batch | {"position": torch.tensor(places), "index": torch.arange(len(some))}


def prepared(some: list[np.ndarray], said: list[str] | None = None) -> Prepared:
    """What `prepare` sees of the pictures; warnings go to `said`."""

    def images(every: int = 1) -> Iterator[np.ndarray]:
        return iter(some[::every])

    return Prepared(
        0, torch.full((len(some),), -1), images, lambda: torch.zeros(0), [].append if said is None else said.append
    )


def everything(method: Method, batch: Batch) -> dict[str, Tensor]:
    """Projections and targets."""
    with torch.no_grad():
        targets = method.targets(batch)
    return {**method.project(batch), **targets}


def terms_of(method: Method, seen: dict[str, Tensor], batch: Batch) -> dict[str, float]:
    """The terms of the loss as numbers."""
    return {name: term.detach().item() for name, term in method.loss(seen, batch).items()}
