"""SimSiam: its heads, where the gradient stops, its predictor's rate, and the collapse without that stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from contract_parts import SIZE, everything_scanned, recipe_of, trainer_of
from method_parts import TinyEncoder, batch_of, counted, resolved
from torch.nn.functional import cosine_similarity

from selfsight.errors import RecipeError
from selfsight.evaluation.geometry import feature_std
from selfsight.losses.cross_view import cross_view_cosine
from selfsight.methods.base import OPTIMIZATION
from selfsight.methods.simsiam import SimSiam
from selfsight.training import guard

CHECKS = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())
HEADS = CHECKS["head_parameter_counts"]["expected"]


def made(inner: int = 32, **settings: object) -> SimSiam:
    torch.manual_seed(0)
    usual = {"layers": 2, "hidden": 64, "width": 64, "predictor_hidden": 16, "augmentation": "moco"}
    return SimSiam(TinyEncoder(inner), **{**usual, **settings})


def test_size_decides_the_recipe() -> None:
    assert resolved(SimSiam, 32) == {"layers": 2, "augmentation": "moco"}
    assert resolved(SimSiam, 224) == {"layers": 3, "augmentation": "moco"}
    assert SimSiam.defaults(224).rate(512)[0] == pytest.approx(0.1)
    assert [SimSiam.defaults(64).rate(batch) for batch in (32, 512)] == [(0.06, "published 0.06 for any batch")] * 2
    with pytest.raises(RecipeError, match="not set"):
        made(layers=None)


def test_heads_of_the_paper() -> None:
    method = made(512, layers=3, hidden=2048, width=2048, predictor_hidden=512)
    assert counted(method.projector) == HEADS["simsiam projector 512-2048-2048-2048 (trainable)"]
    assert counted(method.predictor) == HEADS["simsiam predictor 2048-512-2048"]
    assert not list(method.projector[-1].parameters()), "the projection's last norm neither scales nor shifts"


def test_loss_and_where_the_gradient_stops() -> None:
    method, batch = made().eval(), batch_of(5)
    rows = [method.projector(method.encoder(batch["views"][:, view])) for view in (0, 1)]
    predicted = [method.predictor(one) for one in rows]
    pairs = zip(predicted, reversed(rows), strict=True)
    expected = -sum(cosine_similarity(p, z.detach()).mean() for p, z in pairs) / 2
    projections = method.project(batch)
    projections["projection"].retain_grad()
    found = method.loss(projections, batch)["loss"]
    torch.testing.assert_close(found, expected)
    found.backward()
    assert projections["projection"].grad is None


def test_the_predictors_rate_is_constant() -> None:
    groups = made().groups()
    assert [group.constant for group in groups] == [False, True]
    assert len(groups[1].parameters) == len(list(made().predictor.parameters()))
    assert not any(group.constant for group in made(constant_rate=False).groups())


def test_an_isotropic_cloud_has_the_published_spread() -> None:
    expected = CHECKS["simsiam"]["expected"]
    for width, name in ((2048, "isotropic_std_of_normalised_output_d2048"), (256, "d256")):
        rows = torch.randn(4000, width, generator=torch.Generator().manual_seed(0)).numpy()
        assert feature_std(rows) / width**0.5 == pytest.approx(expected[name], rel=0.01)
    assert feature_std(torch.ones(8, 16).numpy()) == expected["collapsed_std"]


@pytest.mark.parametrize("stopped", [True, False])
def test_without_the_stop_it_collapses_and_the_guard_says_so(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setattr(guard, "EVERY", 10)
    manifest = everything_scanned(photos)
    published = {name: getattr(SimSiam.defaults(SIZE), name) for name in OPTIMIZATION}
    recipe = recipe_of(
        "simsiam", photos, manifest, steps=60, lr=0.2, monitor_points=1, monitor_pictures=32, **published
    )
    trainer = trainer_of(recipe, manifest, tmp_path, save=3600.0)
    if not stopped:
        method: Any = trainer.method
        method.loss = lambda rows, batch: {"loss": -cross_view_cosine(rows["prediction"], rows["projection"])}
    trainer.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    alarms = {line["alarm"] for line in lines if "alarm" in line}
    if stopped:
        assert not alarms
    else:
        assert alarms & {"complete_collapse", "dimensional_collapse", "constant_head"}


def test_chance_and_floor_are_the_loss_of_what_they_say() -> None:
    method, rows = made(), torch.eye(16)[:8].view(4, 2, 16)
    other = {"prediction": rows, "projection": rows.roll(1, dims=0)}
    assert method.loss(other, {})["loss"].item() == method.chance(4)
    assert method.loss({"prediction": rows, "projection": rows.flip(1)}, {})["loss"].item() == method.floor(4)
