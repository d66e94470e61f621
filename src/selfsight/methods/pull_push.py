"""Pull and push: a batch holds P identities with K samples each; samples of one are pulled together, identities apart.

With labels the identities are the classes, and each batch draws P of them with K pictures each. Without labels every
picture is an identity of its own and its K views are the samples. Nothing is published on it; the text it comes from
asks two questions. Inner product or distance? For unit vectors |a - b|^2 = 2 - 2 a.b: both order pairs alike, only the
gradient's size differs. Push to 0 or to -1? Between P > 2 identities the least mean is -1 / (P - 1). Here: hinge at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from selfsight import distributed
from selfsight.data import order
from selfsight.errors import RecipeError, unknown
from selfsight.losses import pull_push as formulas
from selfsight.methods.base import Batch, Epoch, Facts, Method, Prepared, Projections, Terms, Training
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.recipe import Amount, Count, Several
from selfsight.views.draw import Views
from selfsight.views.recipes import multi_view


@final
class PullPush(Method):
    """Pull the samples of an identity together and push identities apart, by inner products."""

    supervised: ClassVar[Mapping[str, Any] | None] = {"identity": "classes"}

    def __init__(
        self,
        encoder: Encoder,
        *,
        identity: str | None = None,  # what is alike: "classes" (labels), or "views" of one picture
        samples: Several | None = None,  # K of each identity in a batch; classes 4, views 2
        push: str = "hinge",  # max(0, s), or squared_hinge, linear (s), minus_one (1 + s); literal: the text's own code
        push_pairs: str = "all",  # of all samples, or of the first or the centroid of each identity
        pull_margin: Amount = 0.0,  # pairs with s above 1 - this are close enough
        width: Count = 128,  # of the projection
        augmentation: str = "supcon",  # name of a view recipe
    ) -> None:
        super().__init__(encoder)
        if identity is None or samples is None:
            raise RecipeError("pull_push: identity and samples are not set; pass them or take PullPush.resolve's")
        self.identity, self.samples, self.push, self.push_pairs = identity, samples, push, push_pairs
        self.pull_margin, self.width, self.augmentation = pull_margin, width, augmentation
        known = {"identity": ("classes", "views"), "push": formulas.PUSHES, "push_pairs": formulas.PAIRS}
        for name, names in known.items():
            if getattr(self, name) not in names:
                raise RecipeError(unknown(f"pull_push {name}", getattr(self, name), names))
        if push == "literal" and (push_pairs, pull_margin) != ("all", 0.0):
            raise RecipeError("pull_push: push=literal has pairs of its own; leave out push_pairs and pull_margin")
        self.projector = mlp([encoder.width, width], norm=False)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Ours, for nothing is published: P x K = 32 x 4."""
        return Training("sgd", lr=0.05, lr_batch=128, weight_decay=1e-4, batch=128, epochs=200, quick=0.8)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """What an identity is and how many samples it has. RecipeError when the batch cannot be P x K."""
        labelled, classes = sum(facts.per_class), sum(count > 0 for count in facts.per_class)
        told = f"{labelled} of {facts.count} training pictures are labelled, with {classes} classes"
        identity = settings.get("identity") or ("classes" if classes > 1 and 2 * labelled >= facts.count else "views")
        two = (2, "two views of each picture, as SimCLR has")
        samples = order.samples_for(facts.batch, classes, settings.get("samples")) if identity == "classes" else two
        found: dict[str, tuple[Any, str]] = {"identity": (identity, told), "samples": samples}
        return {name: value for name, value in found.items() if settings.get(name) is None}

    def prepare(self, data: Prepared) -> None:
        """Say which pictures are not learned from."""
        unlabelled = int((data.labels < 0).sum())
        if self.identity == "classes" and unlabelled:
            data.say(f"{unlabelled} of {len(data.labels)} training pictures have no label and are not drawn")

    def order(self, epoch: Epoch) -> Tensor:
        """P classes of K pictures in each batch; where the identities are pictures, each of them once."""
        if self.identity == "views":
            return super().order(epoch)
        shape = (epoch.batch // self.samples, self.samples)
        return order.grouped(epoch.labels, *shape, epoch.length, epoch.seed, epoch.number)

    def views(self, size: int) -> Views:
        """One draw of each picture of a class, or K draws of a picture that is an identity of its own."""
        return multi_view(self.augmentation, size, views=self.samples if self.identity == "views" else 1)

    def project(self, batch: Batch) -> Projections:
        """A linear map of the embeddings; the loss brings rows to unit length."""
        views = batch["views"]  # (B, V, h, w, C)
        return {"views": self.projector(self.encoder(views.flatten(0, 1))).view(*views.shape[:2], -1)}  # (B, V, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Both terms over the pairs of the whole batch, on every rank: what varies between ranks needs no weights."""
        rows = distributed.gather(projections["views"]).flatten(0, 1)  # (B * V, P) of all ranks
        if self.push == "literal":
            return {"loss": formulas.literal(rows, self.samples)}
        names = distributed.gather(self.identities(batch)).repeat_interleave(projections["views"].shape[1])
        near = formulas.pull(rows, names, margin=self.pull_margin)
        apart = formulas.push(rows, names, pairs=self.push_pairs, penalty=self.push)
        return {"loss": near + apart, "pull": near.detach(), "push": apart.detach()}

    def identities(self, batch: Batch) -> Tensor:
        """(B,) int64: the class; without one (a stand-in for an unreadable file may have none) the picture itself."""
        itself = -1 - batch["index"]
        return itself if self.identity == "views" else torch.where(batch["label"] < 0, itself, batch["label"])

    def chance(self, batch: int) -> float:
        """The loss of a network that gives every picture the same vector: nothing to pull, every s is 1."""
        return 1.0 + (self.push == "minus_one")

    def floor(self, batch: int) -> float:
        """The least loss there is: each identity one point, the points orthogonal, or a simplex without the hinge."""
        identities = batch if self.identity == "views" else batch // self.samples
        return 0.0 if "hinge" in self.push else self.chance(batch) - 1 - 1 / (identities - 1)
