"""SwAV: from one view of a picture predict the code of another; codes share out the prototypes evenly over the batch.

Caron, Misra, Mairal, Goyal, Bojanowski & Joulin 2020, arXiv 2006.09882, and the released code. No negatives and no
teacher: that codes are even keeps pictures apart. Where prototypes outnumber the batch, past projections are shared out
with it. The loss cannot go below `least`, the entropy of the codes; stuck at log K, try a smaller epsilon or rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, final

import torch

from selfsight import distributed
from selfsight.clusters.sinkhorn import sinkhorn
from selfsight.errors import RecipeError
from selfsight.losses.code_usage import entropy
from selfsight.losses.precision import unit
from selfsight.losses.swapped_prediction import swapped_prediction
from selfsight.methods.base import Batch, Facts, Group, Method, Projections, Terms, Training, waiting
from selfsight.nn.crops import projected, taking
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.prototypes import Prototypes
from selfsight.nn.queue import Queue, check_room
from selfsight.recipe import Count, Portion, Positive, Several, Whole
from selfsight.views.draw import Views
from selfsight.views.multicrop import multi_crop

SMALL = 96  # pixels: up to here lightly's CIFAR-10 benchmark, above the released recipe for a batch of 256


@final
class SwAV(Method):
    """Predict the codes of a picture's other views."""

    seen: torch.Tensor  # () int64: projections that entered the queue

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: Several | None = None,  # K; code 3000, lightly CIFAR 512
        hidden: Count = 2048,  # width of the head's hidden layer, code
        width: Count = 128,  # of the projection, code
        temperature: Positive = 0.1,  # code
        epsilon: Positive = 0.05,  # softness of the codes, code
        queue: Whole | None = None,  # past projections of each large view; code 3840 for a batch of 256, 0 is none
        queue_from: Portion = 0.05,  # share of training before it is used; code epoch 15 of 400, solo-learn 50 of 1000
        freeze: Portion = 0.0025,  # share of training before prototypes move; code the first of 400 epochs
        local_views: Whole | None = None,  # small ones, 3/7 of the size; code 6 of 96 px, lightly CIFAR none
        augmentation: str = "swav",  # name of the view recipe of the two large views
    ) -> None:
        super().__init__(taking(encoder, local_views, 3 / 7))
        if prototypes is None or queue is None or local_views is None:
            raise RecipeError("swav: prototypes, queue and local_views are not set; take SwAV.resolve's")
        self.prototypes, self.hidden, self.width, self.temperature = prototypes, hidden, width, temperature
        self.epsilon, self.queue, self.queue_from, self.freeze = epsilon, queue, queue_from, freeze
        self.local_views, self.augmentation = local_views, augmentation
        self.projector, self.scores = mlp([encoder.width, hidden, width], norm=True), Prototypes(width, prototypes)
        self.past = Queue(queue, 2 * width) if queue else None
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px after lightly's CIFAR-10 (there hidden=512, no queue), above the code's but for its last rate."""
        if size <= SMALL:
            return Training("adamw", lr=1e-3, lr_batch=128, weight_decay=1e-6, batch=128, epochs=200, quick=0.8)
        return Training("lars", lr=0.6, lr_batch=256, weight_decay=1e-6, batch=256, epochs=400)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """Prototypes and views by the size of the views, a queue where prototypes outnumber the batch."""
        check_room(settings.get("queue"), facts.batch)
        count, crops, why = (512, 0, "lightly, CIFAR-10") if facts.size <= SMALL else (3000, 6, "released code")
        room = min(3840, facts.count // 2) // facts.batch * facts.batch
        needed = facts.batch < (settings.get("prototypes") or count) and room >= 4 * facts.batch
        queue = (room, "code 3840; at most half of the pictures") if needed else (0, "a large batch or few pictures")
        found = {"prototypes": (count, why), "local_views": (crops, why), "queue": queue}
        return {name: reason for name, reason in found.items() if settings.get(name) is None}

    def groups(self) -> list[Group]:
        """The prototypes stay as they are for a while."""
        return waiting(self, self.scores.weight, self.freeze)

    def views(self, size: int) -> Views:
        """Two large views, and where they are asked for small ones."""
        return multi_crop((self.augmentation, "swav-local"), (size, round(size * 3 / 7)), (2, self.local_views))

    def project(self, batch: Batch) -> Projections:
        """Unit projections (B, V, P) and scores (B, V, K) of all views."""
        rows = unit(projected(self.encoder, self.projector, batch))
        return {"rows": rows, "scores": self.scores(rows)}

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Codes over the batch of all ranks, and the queue when it is in use."""
        scores, own = projections["scores"], distributed.rank() * len(batch["index"])
        everyone = distributed.gather(scores[:, :2].detach())  # (N, 2, K)
        if self.past is not None and self.progress >= self.queue_from and int(self.seen) >= self.queue:
            everyone = torch.cat([self.scores(self.past.keys.view(self.queue, 2, -1)).detach(), everyone])
            own += self.queue
        codes = sinkhorn(everyone, epsilon=self.epsilon, iterations=3)[own : own + len(scores)]  # (B, 2, K); 3: code
        return {"loss": swapped_prediction(scores, codes, temperature=self.temperature), "least": entropy(codes).mean()}

    def on_step_end(self, projections: Projections, batch: Batch) -> None:
        """Prototypes are brought back to length 1, projections of all ranks enter the queue."""
        self.scores.normalise()
        if self.past is not None:
            self.past.enqueue(rows := distributed.gather(projections["rows"][:, :2].flatten(1)))
            self.seen += len(rows)

    def chance(self, batch: int) -> float:
        """The loss of a network to which all prototypes are alike: log K."""
        return log(self.prototypes)

    def floor(self, batch: int) -> float:
        """The loss, without `least`, of one that tells the codes."""
        return 0.0
