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

import torch
from torch import Tensor, nn

os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # no look-up of its newest version

from lightly import loss as losses
from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss
from lightly.models.modules import NNMemoryBankModule, heads
from lightly.models.utils import deactivate_requires_grad, update_momentum

from selfsight.losses.precision import no_autocast


@dataclass(frozen=True)
class Rival:
    """A method's network, and its loss of two views; `before` is called with the progress ahead of each step."""

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    before: Callable[[float], None] = lambda progress: None
    product: nn.Module | None = None  # the encoder that comes out; None: the one that is trained


def exact(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
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
        update_momentum(network, teacher, m=slower(progress))

    return Rival(nn.ModuleList([network, predictor, teacher]), loss, before)


def slower(progress: float) -> float:
    """A teacher's momentum: from 0.99 to 1 along half a cosine, as ours."""
    return 1 - 0.01 * (1 + cos(pi * progress)) / 2


def moco(encoder: Any, memory: int) -> Rival:
    """A hidden layer as wide as the encoder, a queue of `memory` keys; no split batch norm, a momentum that stays."""
    network = nn.Sequential(encoder, heads.MoCoProjectionHead(encoder.width, encoder.width, 128))
    criterion = losses.NTXentLoss(temperature=0.1, memory_bank_size=(memory, 128))
    teacher, compared = deepcopy(network), exact(criterion)
    deactivate_requires_grad(teacher)

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return compared(network(first), teacher(second))

    def before(progress: float) -> None:
        update_momentum(network, teacher, m=0.99)

    return Rival(nn.ModuleList([network, teacher, criterion]), loss, before)


def swav(encoder: Any) -> Rival:
    """The head of the CIFAR-10 benchmark, no queue and no small views."""
    network = nn.Sequential(encoder, heads.SwaVProjectionHead(encoder.width, 512, 128))
    prototypes, criterion = heads.SwaVPrototypes(128, 512), losses.SwaVLoss()
    scores, swapped = exact(prototypes), exact(lambda first, second: criterion([first, second], []).squeeze())

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return swapped(*(scores(nn.functional.normalize(network(view).float(), dim=1)) for view in (first, second)))

    return Rival(nn.ModuleList([network, prototypes]), loss, lambda progress: prototypes.normalize())


def dino(encoder: Any) -> Rival:
    """Three layers with batch norm; the teacher starts as the student is, and its encoder comes out, as from ours."""
    student, slow = (heads.DINOProjectionHead(encoder.width, 2048, 256, 2048, batch_norm=True) for _ in range(2))
    slow.load_state_dict(student.state_dict())
    network, teacher = nn.Sequential(encoder, student), nn.Sequential(deepcopy(encoder), slow)
    deactivate_requires_grad(teacher)
    criterion = losses.DINOLoss(2048)
    compared = exact(lambda *rows: criterion(list(rows[:2]), list(rows[2:])))

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return compared(*(one(view) for one in (teacher, network) for view in (first, second)))

    def before(progress: float) -> None:
        update_momentum(network, teacher, m=slower(progress))

    return Rival(nn.ModuleList([network, teacher]), loss, before, teacher[0])


def lejepa(encoder: Any) -> Rival:
    """Both views are large ones, in one batch; its loss asks for small ones, so its two terms are added here."""
    network = nn.Sequential(encoder, heads.LeJEPAProjectionHead(encoder.width))
    gaussian = SIGReg(num_vectors=256)

    @exact
    def terms(rows: Tensor) -> Tensor:
        return 0.05 * gaussian(rows) + 0.95 * lejepa_invariance_loss(all_proj=rows, global_proj=rows)

    return Rival(network, lambda first, second: terms(network(torch.cat([first, second])).unflatten(0, (2, -1))))


def nnclr(encoder: Any, memory: int) -> Rival:
    """The narrow heads of the example and a queue of `memory` projections."""
    network = nn.Sequential(encoder, heads.NNCLRProjectionHead(encoder.width, 512, 128))
    predictor, criterion = heads.NNCLRPredictionHead(128, 512, 128), exact(losses.NTXentLoss(temperature=0.1))
    bank = exact(NNMemoryBankModule(size=(memory, 128)))

    def loss(first: Tensor, second: Tensor) -> Tensor:
        rows = [network(view) for view in (first, second)]
        predicted = [predictor(one) for one in rows]
        found = [bank(one.detach(), update=number == 1) for number, one in enumerate(rows)]
        total: Tensor = (criterion(found[0], predicted[1]) + criterion(found[1], predicted[0])) / 2
        return total

    return Rival(nn.ModuleList([network, predictor]), loss)


RIVALS = {
    one.__name__: one for one in (simclr, dcl, moco, byol, simsiam, barlow_twins, vicreg, swav, nnclr, dino, lejepa)
}
