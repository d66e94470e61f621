"""What every method is: an `nn.Module` whose keyword-only constructor is its settings.

Most methods write `views`, `project` and `loss` and nothing else. The rules that make the seams hold:

* `project` is per sample and runs in micro-batches; every trainable parameter acts in it.
* `targets` is per sample too, without gradient: teachers. It runs once per micro-batch, never replayed.
* `loss` sees the whole batch and is pure: it reads buffers and writes none.
* `on_step_end` is the only writer of state, once per optimizer step, after the finite check.
* All state is in buffers or parameters from `__init__` on; sizes that the data decides are settings (see `resolve`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from selfsight.data import order
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Amount, Count, Decay, Part, Portion, Positive, Several, Whole, Within
from selfsight.views.draw import Views

__all__ = ["OPTIMIZATION", "QUICK_VIEW", "Batch", "Epoch", "Facts", "Group", "Method", "Prepared", "Projections"]
__all__ += ["Amount", "Count", "Decay", "Part", "Portion", "Positive", "Several", "Terms", "Training", "Whole"]
__all__ += ["QUICK", "Within", "waiting"]

Batch = dict[str, Tensor]
"""Named tensors (B, ...): pictures as the views made them, and the integer facts index, label, position."""
Projections = dict[str, Tensor]
"""Named tensors (B, ...): what the loss compares."""
Terms = dict[str, Tensor]
"""Named scalars; `loss` is minimised, the others are logged."""


QUICK_VIEW = 64  # pixels: the largest view that `QUICK` was measured with
# What a recipe has of a `Training` as it stands.
OPTIMIZATION = ("optimizer", "momentum", "beta2", "weight_decay", "decay_growth", "clip", "clip_each")


@dataclass(frozen=True)
class Training:
    """How a method is trained when nobody says otherwise. Every number has its source in the method's file."""

    optimizer: str = "sgd"  # sgd, lars, adamw
    lr: float = 0.03  # base rate, at `lr_batch` images
    lr_batch: int = 256
    lr_rule: Literal["linear", "sqrt", "none"] = "linear"  # how the rate grows with the batch, see `rate`
    least: float = 0.0  # which the rate does not fall below for small batches
    momentum: float = 0.9  # beta1 of AdamW
    beta2: float = 0.999  # of AdamW, Kingma & Ba 2015
    weight_decay: float = 1e-4
    decay_growth: float = 1.0  # how many times the weight decay it is at the end, along half a cosine
    batch: int = 256
    epochs: int = 200
    encoder: str = "resnet18"  # quick on any machine and hard to beat on small sets; some methods need patches
    warmup: float = 0.0  # epochs of linear warm-up
    clip: float | None = None  # largest gradient norm
    clip_each: bool = False  # the norm of each tensor, not of all together
    source: str = "published"  # or "measured"
    view_share: float = 1.0  # side of the views that are trained on, of that of pictures as the encoder is used on them
    quick: float | None = None  # `QUICK` takes its place on a CPU, with this `view_share` (figures: docs/decisions.md)

    def side(self, size: int) -> int:
        """The side of views for pictures of this one, in steps of 8 pixels."""
        return size if self.view_share == 1 else 8 * round(self.view_share * size / 8)

    def whole(self, side: int) -> int:
        """The side of pictures for views of this one: what `side` is the other way of."""
        return 8 * round(side / self.view_share / 8)

    def rate(self, batch: int) -> tuple[float, str]:
        """The rate for a global batch, and how it came about: lr times batch / lr_batch, its root, or nothing."""
        if self.lr_rule == "none":
            return self.lr, f"{self.source} {self.lr:g} for any batch"
        times = batch / self.lr_batch
        told = f"{self.source} {self.lr:g} x {batch} / {self.lr_batch}"
        if self.lr_rule == "sqrt":
            times, told = sqrt(times), f"{self.source} {self.lr:g} x sqrt({batch} / {self.lr_batch})"
            told += ", the rule that is usual with adamw" if self.optimizer == "adamw" else ""
        if self.lr * times < self.least:
            return self.least, f"{told}, but at least {self.least:g}"
        return self.lr * times, told


# More and smaller steps of a smaller network; beside `published` in benchmarks/defaults.py. Measured at batches of 64.
QUICK = Training("adamw", 0.001, 64, "sqrt", batch=64, encoder="resnet10t", source="measured")


@dataclass(frozen=True)
class Facts:
    """What is known before a method is built: it decides the settings that are left to be automatic."""

    count: int  # training pictures
    batch: int  # global batch
    size: int  # side of a view, pixels
    channels: int
    classes: int
    micro_batch: int | None = None  # what one rank takes through the network at once; None: the whole batch
    per_class: tuple[int, ...] = ()  # training pictures of each class


@dataclass(frozen=True)
class Prepared:
    """What `prepare` may look at: training pictures only, in data order."""

    seed: int
    labels: Tensor  # (N,) int64, -1 = unlabelled
    images: Callable[..., Iterator[np.ndarray]]  # decoded (H, W, C), in data order; images(k): every k-th
    features: Callable[[], Tensor]  # (N, D) of `product`, evaluation view, no gradient
    say: Callable[[str], None] = lambda sentence: None  # a warning that people should read before step 1
    batch: int = 2  # global batch

    def some(self, count: int) -> Iterator[np.ndarray]:
        """Decoded pictures evenly spaced over the data: at least `count` of them, or all."""
        return self.images(max(1, len(self.labels) // max(1, count)))


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures."""

    number: int
    seed: int
    batch: int
    labels: Tensor  # (N,) int64, -1 = unlabelled
    features: Callable[[], Tensor]  # (N, D) of `product` in data order, evaluation view, no gradient
    forget: Callable[[nn.Module], None]  # drop the optimizer's state for a module that was made anew

    @property
    def count(self) -> int:
        """How many training pictures there are."""
        return len(self.labels)

    @property
    def length(self) -> int:
        """How many samples an epoch consumes: floor(N / B) full batches."""
        return self.count // self.batch * self.batch

    def generator(self) -> torch.Generator:
        """Random numbers of this epoch, which no other epoch and no other seed shares."""
        drawn = order.keyed(self.seed, self.number, order.Purpose.CLUSTERS).integers(2**63)
        return torch.Generator().manual_seed(int(drawn))


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate. `start` is the progress before which they stay as they are."""

    parameters: Sequence[nn.Parameter]
    lr: float = 1.0  # multiplies the rate
    decay: float = 1.0  # multiplies the weight decay (tensors with one axis never decay)
    momentum: float | None = None  # None: the optimizer's
    start: float = 0.0  # progress in [0, 1]
    constant: bool = False  # the rate stays at its peak: neither warmed up nor lowered


def waiting(method: nn.Module, late: nn.Parameter, start: float) -> list[Group]:
    """What a method trains, with one parameter that stays as it is before `start` (progress in [0, 1])."""
    others = [p for p in method.parameters() if p.requires_grad and p is not late]
    return [Group(others), Group([late], start=start)]


class Method(nn.Module, ABC):
    """Teach an encoder from images. One final subclass per file in this folder."""

    kind: ClassVar[str] = "pictures"  # of sample that it learns from, see `data.kinds`
    supervised: ClassVar[Mapping[str, Any] | None] = None  # settings by which it learns from labels; {}: by any
    progress: float = 0.0  # share of training done, [0, 1]; written by the loop only
    reassign: int = 0  # epochs from one pass over all pictures to the next; 0: it makes none

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    @abstractmethod
    def defaults(cls, size: int) -> Training:
        """The published recipe for views of this size (pixels)."""

    @classmethod
    def usual(cls, size: int, device: str) -> Training:
        """The recipe for a device such as `cpu` or `cuda:1`."""
        published = cls.defaults(size)
        quick = replace(QUICK, view_share=published.quick or 1.0)
        return quick if published.quick and device == "cpu" and quick.side(size) <= QUICK_VIEW else published

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Values, each with its reason, for settings that are None. Raises RecipeError on an impossible one."""
        return {}

    @classmethod
    def first(cls, settings: Mapping[str, Any]) -> str | None:
        """A method that is trained to its end first, in RUN/stages; the constructor then takes it as `before`."""
        return None

    @classmethod
    def first_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those settings of the method before that follow from this one's."""
        return {}

    @property
    def product(self) -> Encoder:
        """The encoder that monitor, evaluate, embed and export use."""
        return self.encoder

    def prepare(self, data: Prepared) -> None:
        """Fill buffers from the training pictures; once, before step 1, deterministic."""

    def order(self, epoch: Epoch) -> Tensor:
        """Sample index at every position of the epoch, (epoch.length,) int64; pure in (epoch, buffers)."""
        return order.permuted(epoch.count, epoch.seed, epoch.number)[: epoch.length]

    @abstractmethod
    def views(self, size: int) -> Views:
        """What the network sees: picklable, (picture, generator) -> named arrays."""

    @abstractmethod
    def project(self, batch: Batch) -> Projections:
        """Run the trainable network, per sample."""

    def targets(self, batch: Batch) -> Projections:
        """Run what is not trained (teachers), per sample; called without gradient."""
        return {}

    @abstractmethod
    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Compare projections and targets of the whole batch. Pure; no trainable parameter acts here."""

    def on_epoch_start(self, epoch: Epoch) -> None:
        """Recluster, make a head anew. Never called when a run resumes inside an epoch."""

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """Move teacher, queue, centre: the only writer of state."""

    def chance(self, batch: int) -> float | None:
        """The loss over a batch of a network that looks at no picture, in closed form; None where there is none.

        The guard compares the loss with it. What else it watches it finds by itself, see `training/signs.py`.
        """
        return None

    def outputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """What the trained method makes of pictures, to be looked at: named (B, h, w, C) uint8; {} when nothing."""
        return {}

    def groups(self) -> list[Group]:
        """What the optimizer trains; by default every parameter that asks for a gradient."""
        return [Group([p for p in self.parameters() if p.requires_grad])]
