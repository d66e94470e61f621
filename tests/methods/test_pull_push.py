"""Pull/Push: classes or views as identities, P x K batches that fit or are refused, and the loss of both kinds."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_of, one_step

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.losses.pull_push import PAIRS, PUSHES, literal, pull, push
from selfsight.methods.base import Epoch, Facts, Prepared
from selfsight.methods.pull_push import PullPush
from selfsight.training.values import checked, kinds_of_settings


def made(**settings: object) -> PullPush:
    torch.manual_seed(0)
    return PullPush(TinyEncoder(), **{"identity": "classes", "samples": 2, **settings})


def labelled(count: int = 8, classes: int = 4) -> dict[str, torch.Tensor]:
    """Pictures with one view each, class by class, as `order` draws them."""
    batch = batch_of(count)
    each = count // classes
    return {**batch, "views": batch["views"][:, :1], "label": torch.arange(classes).repeat_interleave(each)}


def resolved(batch: int = 128, per_class: tuple[int, ...] = (100,) * 10, count: int | None = None, **settings: object):
    facts = Facts(
        count=sum(per_class) if count is None else count,
        batch=batch,
        size=32,
        channels=3,
        classes=len(per_class),
        per_class=per_class,
    )
    found = PullPush.resolve(settings, facts)
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def epoch_of(labels: torch.Tensor, batch: int) -> Epoch:
    return Epoch(1, 3, batch, labels, lambda: torch.zeros(len(labels), 2), lambda module: None)


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("pull_push") is PullPush
    own = {"identity", "samples", "push", "push_pairs", "pull_margin", "width", "augmentation"}
    assert set(methods.settings(PullPush)) == own


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"per_class": (100,) * 40}, ("classes", 4)),  # P x K = 32 x 4, the default
        ({"per_class": (100,) * 10}, ("classes", 16)),  # 8 of 10 classes
        ({"per_class": (50, 0, 50), "batch": 8}, ("classes", 4)),  # a class without training pictures is none
        ({"per_class": (9,) * 9, "batch": 6}, ("classes", 3)),
        ({"per_class": ()}, ("views", 2)),
        ({"per_class": (100,), "count": 100}, ("views", 2)),
        ({"per_class": (10, 10), "count": 100}, ("views", 2)),  # most pictures would never be drawn
        ({"per_class": (10, 10), "count": 100, "identity": "classes"}, (None, 64)),
        ({"per_class": (10,) * 40, "identity": "views"}, (None, 2)),
        ({"per_class": (10,) * 40, "samples": 8}, ("classes", None)),
    ],
)
def test_what_is_alike_and_how_often(facts: dict[str, object], expected: tuple[object, object]) -> None:
    found = resolved(**facts)  # type: ignore[arg-type]
    assert (found.get("identity"), found.get("samples")) == expected


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"batch": 7}, "--batch 6$"),
        ({"batch": 10, "samples": 4}, "--batch 8 or --set samples=2$"),
        ({"batch": 4, "samples": 4}, "--batch 8 or --set samples=2$"),  # a batch of one class has nothing to push
        ({"batch": 128, "samples": 4}, "2 to 10 classes; use --batch 40 or --set samples=16$"),
        ({"batch": 2}, "--batch 4$"),
        ({"per_class": (5,), "identity": "classes"}, "labels of two classes or more, and there are 1"),
        ({"per_class": (), "identity": "classes"}, "there are 0"),
    ],
)
def test_batches_that_cannot_be_are_refused(facts: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        resolved(**facts)  # type: ignore[arg-type]


def test_remedies_are_true() -> None:
    """What a refusal proposes is not refused."""
    for batch, classes, samples in [(b, c, k) for b in range(2, 40) for c in (2, 3, 10) for k in (None, 2, 4, 5)]:
        try:
            resolved(batch=batch, per_class=(50,) * classes, samples=samples)
        except RecipeError as error:
            words = str(error).split("; use ")[1].replace("--set ", "").replace("--batch ", "batch=").split(" or ")
            for remedy in words:
                name, value = remedy.split("=")
                resolved(**{"batch": batch, "per_class": (50,) * classes, "samples": samples, name: int(value)})


@pytest.mark.parametrize(
    "settings",
    [
        {"identity": None},
        {"samples": None},
        {"identity": "class"},
        {"push": "softplus"},
        {"push_pairs": "last"},
        {"push": "literal", "push_pairs": "first"},
        {"push": "literal", "pull_margin": 0.1},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        made(**settings)


def test_a_batch_without_positives_is_refused() -> None:
    with pytest.raises(RecipeError, match="a whole number from 2 on"):
        checked("samples", 1, kinds_of_settings(PullPush)["samples"])


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("identity", "views"), [("classes", 1), ("views", 3)])
def test_views_are_light_and_as_many_as_needed(identity: str, views: int, channels: int) -> None:
    method = made(identity=identity, samples=3)
    seen = method.views(32)
    assert len(pickle.dumps(seen)) < 10_000
    picture = np.random.default_rng(0).integers(0, 60_000, (40, 50, channels), dtype=np.uint16)
    drawn = seen(picture, np.random.default_rng(1))["views"]
    assert (drawn.shape, drawn.dtype) == ((views, 32, 32, channels), np.uint16)


def test_classes_are_drawn_in_batches_and_pictures_once() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, -1, 2, 2, 2, 2] * 3)
    order = made().order(epoch_of(labels, 4))
    assert order.shape == (28,)
    drawn = labels[order].view(7, 2, 2)
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (drawn[:, 0] != drawn[:, 1]).any(dim=1).all()
    assert -1 not in drawn
    alone = made(identity="views").order(epoch_of(labels, 4))
    assert len(set(alone.tolist())) == 28


def test_the_loss_is_pull_and_push_of_classes() -> None:
    method, batch = made(push_pairs="centroid", pull_margin=0.1).eval(), labelled()
    rows = method.projector(method.encoder(batch["views"][:, 0]))
    terms = method.loss(method.project(batch), batch)
    near, far = pull(rows, batch["label"], margin=0.1), push(rows, batch["label"], pairs="centroid")
    torch.testing.assert_close(terms["loss"], near + far)
    torch.testing.assert_close((terms["pull"], terms["push"]), (near.detach(), far.detach()))
    told = made(push="literal").eval()
    torch.testing.assert_close(told.loss(told.project(batch), batch)["loss"], literal(rows, 2))


def test_the_loss_is_pull_and_push_of_views() -> None:
    method, batch = made(identity="views").eval(), {**batch_of(6), "label": torch.zeros(6, dtype=torch.int64)}
    rows = method.projector(method.encoder(batch["views"].flatten(0, 1)))
    names = torch.arange(6).repeat_interleave(2)
    terms = method.loss(method.project(batch), batch)
    torch.testing.assert_close(terms["loss"], pull(rows, names) + push(rows, names))


def test_a_stand_in_without_label_is_an_identity_of_its_own() -> None:
    """Two unreadable pictures of a class may be replaced by two that have no label: these are not alike."""
    batch = {**labelled(), "label": torch.tensor([0, 0, -1, -1, 1, 1, 2, 2])}
    assert made().identities(batch).tolist() == [0, 0, -3, -4, 1, 1, 2, 2]


def test_unlabelled_pictures_are_told() -> None:
    said: list[str] = []
    data = Prepared(0, torch.tensor([0, 1, -1]), lambda: iter(()), lambda: torch.zeros(3, 2), said.append)
    made(identity="views").prepare(data)
    assert not said
    made().prepare(data)
    assert said == ["1 of 3 training pictures have no label and are not drawn"]


@pytest.mark.parametrize("form", PUSHES)
def test_chance_and_floor_are_the_loss_of_what_they_say(form: str) -> None:
    method, batch = made(push=form), labelled()
    blind = torch.ones(8, 1, 3)
    assert method.loss({"views": blind}, batch)["loss"].item() == pytest.approx(method.chance(8), abs=1e-6)
    corners = torch.eye(4) if "hinge" in form else torch.eye(4) - 1 / 4
    best = corners.repeat_interleave(2, dim=0)[:, None]
    assert method.loss({"views": best}, batch)["loss"].item() == pytest.approx(method.floor(8), abs=1e-6)


@pytest.mark.parametrize(
    ("form", "pairs"), [one for one in product(PUSHES, PAIRS) if one[0] != "literal" or one[1] == "all"]
)
def test_eight_pictures_reach_nine_tenths_of_the_gap(form: str, pairs: str) -> None:
    method, batch = made(push=form, push_pairs=pairs), labelled()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    losses = [one_step(method, batch, optimizer) for _ in range(200)]
    assert (method.chance(8) - losses[-1]) / (method.chance(8) - method.floor(8)) >= 0.9
