"""lightly's methods, put together as its documented examples do, around an encoder that is given.

Views come in as pairs of integer batches (B, h, w, C), which the encoder scales itself. Criteria and memory compute in
float32 whatever the networks run in, as ours do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi
from typing import Any

from torch import Tensor, nn

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # no look-up of its newest version

from lightly import loss as losses
from lightly.models.modules import NNMemoryBankModule, heads
from lightly.models.utils import deactivate_requires_grad, update_momentum

from selfsight.losses.precision import no_autocast


@dataclass(frozen=True)
class Rival:
    """A method's network, and its loss of two views; `before` is called with the progress ahead of each step."""

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    before: Callable[[float], None] = lambda progress: None


def exact(part: nn.Module) -> Callable[..., Tensor]:
    """The criterion or memory, in float32."""

    def computed(*rows: Tensor, **more: Any) -> Tensor:
        with no_autocast(rows[0]):
            found: Tensor = part(*(one.float() for one in rows), **more)
        return found

    return computed


def joint(encoder: Any, head: nn.Module, criterion: nn.Module) -> Rival:
    """Methods whose loss compares the two projections."""
    network, loss = nn.Sequential(encoder, head), exact(criterion)
    return Rival(network, lambda first, second: loss(network(first), network(second)))


def simclr(encoder: Any) -> Rival:
    """The head of the example, the temperature of the CIFAR-10 benchmark."""
    return joint(encoder, heads.SimCLRProjectionHead(encoder.width, 512, 128), losses.NTXentLoss(temperature=0.5))


def dcl(encoder: Any) -> Rival:
    """SimCLR's head."""
    return joint(encoder, heads.SimCLRProjectionHead(encoder.width, 512, 128), losses.DCLLoss(temperature=0.1))


def barlow_twins(encoder: Any) -> Rival:
    """Three layers."""
    return joint(encoder, heads.BarlowTwinsProjectionHead(encoder.width, 2048, 2048), losses.BarlowTwinsLoss())


def vicreg(encoder: Any) -> Rival:
    """Three layers."""
    return joint(encoder, heads.VICRegProjectionHead(encoder.width, 2048, 2048), losses.VICRegLoss())


def simsiam(encoder: Any) -> Rival:
    """The narrow heads of the example."""
    network = nn.Sequential(encoder, heads.SimSiamProjectionHead(encoder.width, 512, 128))
    predictor, criterion = heads.SimSiamPredictionHead(128, 64, 128), exact(losses.NegativeCosineSimilarity())

    def loss(first: Tensor, second: Tensor) -> Tensor:
        rows = [network(view) for view in (first, second)]
        predicted = [predictor(one) for one in rows]
        found: Tensor = (criterion(predicted[0], rows[1].detach()) + criterion(predicted[1], rows[0].detach())) / 2
        return found

    return Rival(nn.ModuleList([network, predictor]), loss)


def byol(encoder: Any) -> Rival:
    """Its loss times 4, which is the paper's but for a constant: the same rate then means the same."""
    network = nn.Sequential(encoder, heads.BYOLProjectionHead(encoder.width, 1024, 256))
    predictor, criterion = heads.BYOLPredictionHead(256, 1024, 256), exact(losses.NegativeCosineSimilarity())
    teacher = deepcopy(network)
    deactivate_requires_grad(teacher)

    def loss(first: Tensor, second: Tensor) -> Tensor:
        predicted = [predictor(network(view)) for view in (first, second)]
        targets = [teacher(view) for view in (first, second)]
        found: Tensor = 2 * (criterion(predicted[0], targets[1]) + criterion(predicted[1], targets[0]))
        return found

    def before(progress: float) -> None:
        update_momentum(network, teacher, m=1 - 0.01 * (1 + cos(pi * progress)) / 2)

    return Rival(nn.ModuleList([network, predictor, teacher]), loss, before)


def nnclr(encoder: Any, support: int) -> Rival:
    """The narrow heads of the example and a queue of `support` projections."""
    network = nn.Sequential(encoder, heads.NNCLRProjectionHead(encoder.width, 512, 128))
    predictor, criterion = heads.NNCLRPredictionHead(128, 512, 128), exact(losses.NTXentLoss(temperature=0.1))
    bank = exact(NNMemoryBankModule(size=(support, 128)))

    def loss(first: Tensor, second: Tensor) -> Tensor:
        rows = [network(view) for view in (first, second)]
        predicted = [predictor(one) for one in rows]
        found = [bank(one.detach(), update=number == 1) for number, one in enumerate(rows)]
        total: Tensor = (criterion(found[0], predicted[1]) + criterion(found[1], predicted[0])) / 2
        return total

    return Rival(nn.ModuleList([network, predictor]), loss)


RIVALS = {one.__name__: one for one in (simclr, dcl, byol, simsiam, barlow_twins, vicreg, nnclr)}
