"""Every value is decided once, with its reason; what cannot be is refused before anything is written."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import torch
from conftest import write_pictures
from contract_parts import everything_scanned

from selfsight import methods
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.errors import DataError, RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import pooled
from selfsight.recipe import Recipe
from selfsight.training import autotune, told
from selfsight.training.bare import Bare
from selfsight.training.build import encoder_of, method_of, views_of
from selfsight.training.data import TrainingData
from selfsight.training.plan import plan
from selfsight.training.request import Request, contradiction

QUICK: dict[str, Any] = {
    "encoder": "test_resnet",
    "size": 32,
    "length": "20steps",
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "use_all": True,
}


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return everything_scanned(photos)


def planned(manifest: Manifest, **asked: Any) -> tuple[Recipe, dict[str, str]]:
    return plan(Request(data=["/photos"], **{**QUICK, **asked}), manifest)


def test_views_are_smaller_than_pictures_where_that_was_measured(manifest: Manifest) -> None:
    """Crops are then as large in the view as whole pictures are for the encoder."""
    asked, _ = planned(manifest, encoder=None, size=64)
    assert (asked.size, asked.view_size, asked.side) == (64, 48, 48)
    own, why = planned(manifest, encoder=None, size=None)
    assert (own.size, own.view_size, own.side) == (40, 32, 32), "views are as large as what the pictures fill"
    assert "views of 32 px, whole pictures at 40 px" in why["size"]
    assert "40 px" in why["view_size"]
    other, why = planned(manifest)
    assert (other.view_size, other.side) == (None, 32), "of this network nothing was measured"
    assert why["view_size"] == "as large as the pictures"
    method = method_of(own)
    image = np.zeros((80, 80, 3), np.uint8)
    assert views_of(own, method)(image, np.random.default_rng(0))["views"].shape == (2, 32, 32, 3)
    assert method.product.size == 40, "what embeds, evaluates and exports"


def test_the_side_of_views_can_be_said(manifest: Manifest, tmp_path: Path) -> None:
    said, _ = planned(manifest, settings={"view_size": "24"})
    assert (said.size, said.side) == (32, 24)
    config = tmp_path / "recipe.yaml"
    config.write_text(said.to_yaml())
    again = {**QUICK, "size": None, "config": str(config)}
    assert planned(manifest, **again)[0].side == 24
    assert planned(manifest, **again | {"size": 64})[0].side == 64, "it belonged to the size of the config"
    for method in ("rotation", "mae", "ijepa"):
        with pytest.raises(RecipeError, match=f"the views of {method} are as large as its pictures"):
            planned(manifest, method=method, encoder=None, size=64, settings={"view_size": "48"})


def test_the_stride_of_small_views(manifest: Manifest, tmp_path: Path) -> None:
    recipe, why = planned(manifest, encoder="resnet10t")
    assert (recipe.size, recipe.output_stride) == (32, 16)
    assert ("stride", 16, why["output_stride"]) in told.plan_rows(recipe, why)
    assert encoder_of(recipe).arguments["output_stride"] == 16
    older = replace(recipe, output_stride=None)
    assert encoder_of(older).arguments["output_stride"] == 8, "a run that was begun before"
    asked, why = planned(manifest, encoder="resnet10t", settings={"output_stride": "32"})
    assert (asked.output_stride, why["output_stride"]) == (32, "as asked")
    assert encoder_of(asked).arguments["output_stride"] == 32
    for size in (16, 64):
        assert planned(manifest, encoder="resnet10t", size=size)[0].output_stride is None
    large, _ = planned(manifest, encoder="resnet10t", size=64)
    assert "output_stride" not in encoder_of(large).arguments
    (tmp_path / "small.yaml").write_text(recipe.to_yaml())
    again = {"config": str(tmp_path / "small.yaml"), "encoder": None}
    assert planned(manifest, **again | {"size": None})[0].output_stride == 16
    assert planned(manifest, **again | {"size": 64})[0].output_stride is None
    encoder_of(older).save(tmp_path / "given")
    weights = str(tmp_path / "given" / "model.safetensors")
    begun, why = planned(manifest, encoder="resnet10t", weights=weights)
    assert (begun.output_stride, why["output_stride"]) == (None, "the usual")
    assert encoder_of(begun).arguments["output_stride"] == 8
    changed, _ = planned(manifest, encoder="resnet10t", weights=weights, settings={"output_stride": "16"})
    assert encoder_of(changed).arguments["output_stride"] == 16


@pytest.mark.parametrize(
    ("encoder", "stride", "said"),
    [
        ("resnet10t", "12", "output_stride is one of 8, 16, 32"),
        ("test_vit", "16", "leave output_stride out"),
    ],
)
def test_strides_that_cannot_be_had(manifest: Manifest, encoder: str, stride: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        planned(manifest, encoder=encoder, settings={"output_stride": stride})


def test_large_pictures_are_halved_for_all_that_the_run_does(manifest: Manifest, tmp_path: Path) -> None:
    asked, why = planned(manifest)
    assert (asked.least_side, why["least_side"]) == (None, "no picture is so large")
    write_pictures(tmp_path, 8, side=300)
    large = everything_scanned(tmp_path)
    halves, why = planned(large, batch=2)
    assert halves.least_side == 128
    assert why["least_side"].startswith("8 pictures are larger")
    rows = {name: (value, because) for name, value, because in told.plan_rows(halves, why)}
    assert rows["large pictures"] == ("halved while 128 px stay", why["least_side"])
    assert rows["decoded pictures"][1].startswith("1 MB"), "8 of 150 x 150, not of 300 x 300"
    data = TrainingData(halves, large, method_of(halves), tmp_path, workers=0)
    assert data.pictures.read(0)[0].shape == (150, 150, 3)
    assert pictures_of(halves, large).read(0)[0].shape == (150, 150, 3), "what embeds and evaluates"
    assert pictures_of(replace(halves, least_side=None), large).read(0)[0].shape == (300, 300, 3), "an older run"
    data.close()
    said, why = planned(large, batch=2, settings={"least_side": "1000"})
    assert (said.least_side, why["least_side"]) == (1000, "as asked")


def test_only_data_is_needed(manifest: Manifest) -> None:
    """The full automatic way, speed measured: every value is there, with a reason."""
    recipe, reasons = plan(Request(data=["/photos"], encoder="test_resnet", device="cpu", threads=1), manifest)
    assert recipe.method == "simclr"
    assert recipe.size == 32
    assert recipe.epoch_steps >= 4, "an epoch has some batches"
    assert recipe.pictures == 64
    assert recipe.precision in ("fp32", "bf16")
    assert recipe.steps >= 1
    unexplained = {"data", "pictures", "listing", "use_all", "columns", "before", "searched", "settings"}
    assert {field.name for field in fields(Recipe)} - unexplained <= reasons.keys()
    assert all(reasons.values())


@pytest.mark.parametrize(
    ("length", "steps"), [("20steps", 20), ("3epochs", 24), ("1.5epochs", 12), ("800images", 100), ("1images", 1)]
)
def test_lengths_come_to_steps(manifest: Manifest, length: str, steps: int) -> None:
    assert planned(manifest, length=length, batch=8)[0].steps == steps


def test_a_length_in_time_comes_from_the_measured_speed(manifest: Manifest) -> None:
    short, reasons = planned(manifest, length="1s", batch=8)
    assert short.length == "1s"
    assert 1 <= short.steps < 10_000
    assert "s each" in reasons["steps"]
    assert "eta" in reasons


def test_flag_wins_over_set_over_config_over_method(manifest: Manifest, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "batch: 4\nlr: 0.5\nweight_decay: 0.5\nmomentum: 0.1\nclip: 3.0\nsettings: {temperature: 0.7, width: 32}\n"
    )
    recipe, reasons = planned(manifest, config=str(config), batch=8, settings={"momentum": "0.2", "temperature": "0.3"})
    assert (recipe.batch, reasons["batch"]) == (8, "as asked")
    assert (recipe.momentum, reasons["momentum"]) == (0.2, "as asked")
    assert (recipe.weight_decay, reasons["weight_decay"]) == (0.5, "from --config")
    assert recipe.lr == pytest.approx(0.001 * (8 / 64) ** 0.5), "the config's belongs to its own batch"
    assert reasons["lr"] == "measured with resnet10t 0.001 x sqrt(8 / 64), the rule that is usual with adamw"
    assert planned(manifest, config=str(config), lr=0.25, batch=8)[0].lr == 0.25
    assert planned(manifest, config=str(config))[0].lr == 0.5
    assert recipe.clip == 3.0
    assert recipe.settings["temperature"] == 0.3
    assert recipe.settings["width"] == 32
    assert recipe.settings["head"] == "paper"


def test_an_asked_length_wins_over_the_steps_of_a_config(manifest: Manifest, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("length: 5steps\nsteps: 5\n")
    assert planned(manifest, config=str(config), length="7steps")[0].steps == 7
    assert planned(manifest, config=str(config), length=None)[0].steps == 5


@pytest.mark.parametrize("method", ["simclr", "everything"])
def test_a_whole_recipe_is_a_config(manifest: Manifest, tmp_path: Path, method: str) -> None:
    recipe, reasons = planned(manifest, batch=8, seed=3, method=method)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(reasons))
    again, _ = plan(Request(data=["/photos"], config=str(tmp_path / "recipe.yaml"), use_all=True), manifest)
    assert recipe.difference(again) is None


def test_a_recipe_is_a_config_for_other_pictures(manifest: Manifest, tmp_path: Path) -> None:
    """DeepCluster has a place for each picture, and other pictures are another number of them."""
    recipe, reasons = planned(manifest, batch=8, method="deepcluster", settings={"clusters": "3"})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(reasons))
    fewer = write_pictures(tmp_path / "fewer", count=40)
    again, _ = planned(everything_scanned(fewer), config=str(tmp_path / "recipe.yaml"))
    assert again.settings == recipe.settings | {"count": 40}


def test_warm_up_takes_the_published_epochs_and_no_more_than_their_share(manifest: Manifest) -> None:
    """LARS at 128 px warms up for ten of a hundred epochs unless told otherwise."""
    large: dict[str, Any] = {"size": 128, "batch": 8}
    for length, share, why in (("30epochs", 0.1, "the share of 10 in 100 epochs"), ("200epochs", 0.05, "10 epochs")):
        recipe, reasons = planned(manifest, **large, length=length)
        assert (recipe.warmup, reasons["warmup"]) == (pytest.approx(share), f"{why}, as published")
    assert planned(manifest, **large, settings={"warmup": "0"})[0].warmup == 0.0


def test_a_rate_is_of_its_optimizer(manifest: Manifest, tmp_path: Path) -> None:
    """Another one takes the recipe that was published for it, or a rate that is given, or none."""
    recipe, reasons = planned(manifest, settings={"optimizer": "sgd"}, batch=8)
    assert (recipe.lr, recipe.weight_decay) == (pytest.approx(0.06 * 8 / 128), 5e-4)
    assert reasons["lr"] == "published 0.06 x 8 / 128"
    other: dict[str, Any] = {"method": "mae", "encoder": None, "settings": {"optimizer": "sgd"}}
    with pytest.raises(RecipeError, match="rate of mae is for adamw, not for sgd; give one for it with --lr"):
        planned(manifest, **other)
    assert planned(manifest, **other, lr=0.001)[0].lr == 0.001
    (tmp_path / "recipe.yaml").write_text("lr: 0.002\n")
    assert planned(manifest, **other, config=str(tmp_path / "recipe.yaml"))[0].lr == 0.002


def test_a_network_that_is_timed_is_the_only_one(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no room for two; the one that is chosen is made anew for its memory."""
    there, made = WeakSet[Bare](), list[str]()

    class Timed(Bare):
        def __init__(self, recipe: Recipe, *given: Any) -> None:
            assert not there, "the one before is gone"
            super().__init__(recipe, *given)
            there.add(self)
            made.append(recipe.precision)
            self.seconds = 1.0 if len(made) != 2 else 0.5

    monkeypatch.setattr(autotune, "Bare", Timed)
    recipe, reasons = planned(manifest, precision=None)
    assert made == ["fp32", "fp32", "bf16", "bf16", "fp32"]
    assert (recipe.precision, recipe.channels_last) == ("fp32", True)
    assert "memory" in reasons


def test_views_name_the_augmentation(manifest: Manifest) -> None:
    assert planned(manifest, views="weak")[0].settings["augmentation"] == "weak"


def test_the_stage_before_has_its_own_recipe(manifest: Manifest) -> None:
    recipe, _ = planned(manifest, method="everything", batch=8)
    assert recipe.before is not None
    assert (recipe.before.method, recipe.before.steps, recipe.before.before) == ("simclr", 10, None)
    assert set(recipe.before.settings) == set(methods.settings(methods.get("simclr")))


def test_the_stage_before_has_its_own_warm_up(manifest: Manifest) -> None:
    recipe, _ = planned(manifest, method="everything", batch=8)
    assert recipe.warmup == pytest.approx(0.5 / 4)
    assert recipe.before is not None
    assert recipe.before.warmup == 0.0


def paced(seconds: dict[str, float]) -> Any:
    """A measurement that finds these seconds a step."""

    def measure(recipe: Recipe, manifest: Manifest, *fixed: object, workers: int = 1) -> autotune.Speed:
        return autotune.Speed("fp32", False, seconds[recipe.method], 1e9, "measured")

    return measure


def test_time_is_that_of_the_whole_run(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of it for the stage before, and a third of that for the stage before that one."""
    monkeypatch.setattr(autotune, "measure", paced({"everything": 0.5, "simclr": 0.2}))
    recipe, reasons = planned(manifest, method="everything", length="3m", batch=8)
    assert recipe.before is not None
    assert (recipe.steps, recipe.before.steps) == (240, 300)
    assert reasons["eta"] == "3.0 minutes"
    rows = {name: (value, why) for name, value, why in told.plan_rows(recipe, reasons)}
    assert rows["trained before"] == ("simclr, 300 steps", "33% of the time, 0.20 s a step")
    assert "33% of the time" in recipe.to_yaml(reasons)
    monkeypatch.setattr(autotune, "measure", paced({"beit": 0.6, "vqkd": 0.4, "simclr": 0.2}))
    asked = {"method": "beit", "encoder": "test_vit", "settings": {"tokenizer": "vqkd"}}
    recipe, reasons = planned(manifest, length="3m", batch=8, **asked)
    first = recipe.before
    assert first is not None
    assert first.before is not None
    assert (recipe.steps, first.steps, first.before.steps) == (200, 100, 100)
    assert [why for name, _, why in told.plan_rows(recipe, reasons) if name == "trained before"] == [
        "22% of the time, 0.40 s a step",
        "11% of the time, 0.20 s a step",
    ]


def test_other_lengths_give_the_stage_half_as_many_steps(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "measure", paced({"everything": 3.0, "simclr": 6.0}))
    recipe, reasons = planned(manifest, method="everything", length="20steps", batch=8, precision=None)
    assert recipe.before is not None
    assert (recipe.steps, recipe.before.steps) == (20, 10)
    assert reasons["eta"] == "2.0 minutes"
    assert reasons["before"] == "50% of the time, 6.00 s a step"
    recipe, reasons = planned(manifest, method="everything", length="20steps", batch=8)
    assert reasons["before"] == "half as many steps"
    assert "eta" not in reasons


def test_passes_over_all_pictures_are_part_of_the_pace(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 pictures in 3 s by this clock, every second epoch of 8 steps; other methods make no passes."""
    clock = SimpleNamespace(perf_counter=partial(next, count(0, 3)))
    monkeypatch.setattr(autotune, "time", clock)
    monkeypatch.setattr(autotune, "embed", lambda *_, **__: None)
    recipe, _ = planned(manifest, method="deepcluster", batch=8, settings={"reassign": "2"})
    assert autotune.passing(recipe, manifest) == 3 / 16
    assert autotune.passing(planned(manifest, batch=8)[0], manifest) == 0.0


def test_the_stage_has_what_the_method_hands_it(manifest: Manifest) -> None:
    asked = {"method": "beit", "encoder": "test_vit", "settings": {"tokenizer": "vq", "codes": "32"}}
    recipe, _ = planned(manifest, batch=8, **asked)
    assert recipe.before is not None
    assert (recipe.before.method, recipe.before.settings["codes"]) == ("vq", 32)
    assert recipe.beta2 == 0.98
    assert recipe.before.beta2 == 0.999
    assert "teacher" not in recipe.before.settings
    asked["settings"] = {"tokenizer": "vqkd", "teacher": "rotation"}
    first = planned(manifest, batch=8, **asked)[0].before
    assert first is not None
    assert first.before is not None
    assert (first.method, first.before.method) == ("vqkd", "rotation")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"batch": 1}, "batch of 1 does not fit 64"),
        ({"batch": 65}, "use --batch between 2 and 64"),
        ({"batch": 0}, "batch of 0"),
        ({"size": 4}, "--size 4 is not between"),
        ({"method": "simklr"}, "Did you mean 'simclr'"),
        ({"encoder": "resnt18"}, "Did you mean.*resnet18"),
        ({"encoder": "some/where"}, "neither a run that has begun nor"),
        ({"settings": {"temprature": "1"}}, "Did you mean 'temperature'"),
        ({"length": "10 weeks"}, "is not a length"),
        ({"method": "moco", "batch": 32}, "batch of at most"),
        ({"method": "vqkd", "settings": {"teacher": "context"}}, "from pictures, and .context., .* from documents"),
        ({"method": "beit", "settings": {"tokenizer": "vqkd", "teacher": "vqkd"}}, "cannot be its own teacher"),
        ({"settings": {"head": "big"}}, "head"),
        ({"settings": {"optimizer": "adam"}}, "optimizer cannot be 'adam': it must be sgd or lars or adamw"),
        ({"views": "strong"}, "view recipe"),
        ({"method": "rotation", "views": "weak"}, "rotation has views of its own; leave --views weak out"),
        ({"micro_batch": 0, "batch": 8}, "use --micro-batch 1"),
        ({"micro_batch": 5, "batch": 8}, "micro-batches of 5 do not make up the 8 .*; use --micro-batch 4"),
        ({"micro_batch": 9, "batch": 8}, "use --micro-batch 8"),
        *(
            ({"method": name, "micro_batch": 1, "batch": 8}, f"{name} needs two pictures.*use a larger --micro-batch")
            for name in ("byol", "simsiam", "barlow_twins", "vicreg", "nnclr")
        ),
        ({"settings": {"temperature": "hot"}}, "temperature cannot be 'hot': it must be a number above 0"),
        ({"settings": {"temperature": "-1"}}, "temperature cannot be -1"),
        ({"settings": {"weight_decay": "nan"}}, "weight_decay cannot be nan"),
        ({"settings": {"width": "1.5"}}, "width cannot be 1.5: it must be a whole number from 1 on"),
        ({"lr": -1.0}, "lr cannot be -1.0: it must be a number above 0"),
        ({"threads": 0}, "threads cannot be 0: it must be a whole number from 1 on"),
        ({"precision": "fp16"}, "precision cannot be 'fp16': it must be fp32 or bf16"),
        ({"device": "gpu"}, "no device 'gpu'; use cpu, cuda"),
        ({"device": "cuda:x"}, "no device 'cuda:x'"),
        ({"encoder": "efficientformer_l1", "size": 64}, "efficientformer_l1.*64 px.*--size 224"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(manifest: Manifest, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        planned(manifest, **asked)


def test_an_architecture_is_meant_where_a_folder_has_its_name(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_resnet").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = planned(manifest, encoder="test_resnet")[0]
    assert recipe.encoder == "test_resnet"
    assert "encoder was" in str(contradiction(Request(encoder="test_resnet"), replace(recipe, encoder="resnet18")))
    with pytest.raises(RecipeError, match="'mine' is neither a run that has begun nor"):
        planned(manifest, encoder="mine")


@pytest.mark.parametrize(("text", "name"), [("batch: many", "batch"), ("lr: [1]", "lr"), ("data: 1\nseed: x", "seed")])
def test_a_config_of_the_wrong_kind_is_refused(manifest: Manifest, tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=f"{name} cannot be"):
        planned(manifest, config=str(tmp_path / "recipe.yaml"))


def test_numbers_are_read_before_yaml(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("weight_decay: 1e-4\n")
    assert planned(manifest, settings={"weight_decay": "1e-4"})[0].weight_decay == 1e-4
    assert planned(manifest, config=str(tmp_path / "recipe.yaml"))[0].weight_decay == 1e-4


def test_a_config_does_not_say_how_pixels_are_kept(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("pixels: {channels: 5, dtype: uint16}\npictures: 3\nlisting: x\nbatch: 8\n")
    recipe, _ = planned(manifest, config=str(tmp_path / "recipe.yaml"))
    assert (recipe.pixels["channels"], recipe.pixels["dtype"], recipe.pictures) == (3, "uint8", 64)


def test_the_loader_sets_the_pace_where_it_is_slower() -> None:
    assert autotune.paced(1.0, 4.0, 2) == 2.0
    assert autotune.paced(1.0, 1.0, 2) == 1.0
    assert autotune.paced(1.0, 4.0, 0) == 5.0, "without workers nothing happens at the same time"


def test_what_fitted_and_batch_norm_are_told(manifest: Manifest, tmp_path: Path) -> None:
    Encoder("test_resnet", size=32).save(tmp_path)
    weights = str(tmp_path / "model.safetensors")
    recipe, reasons = planned(manifest, weights=weights)
    assert "tensors from model.safetensors" in reasons["weights"]
    assert recipe.keep_statistics
    assert ("batch norm", "as given", reasons["keep_statistics"]) in told.plan_rows(recipe, reasons)
    other, reasons = planned(manifest, weights=weights, settings={"keep_statistics": "false"})
    assert not other.keep_statistics
    assert "each micro-batch" in reasons["batch norm"]
    plain, reasons = planned(manifest)
    assert not plain.keep_statistics
    assert "each micro-batch" in reasons["batch norm"]
    (tmp_path / "plain.yaml").write_text(plain.to_yaml())
    assert planned(manifest, config=str(tmp_path / "plain.yaml"), weights=weights)[0].keep_statistics
    assert "batch norm" not in planned(manifest, encoder="test_vit")[1]
    with pytest.raises(RecipeError, match="came with weights, and there are none"):
        planned(manifest, settings={"keep_statistics": "true"})


@pytest.mark.parametrize("method", ["simclr", "moco", "byol"])
def test_given_batch_norms_keep_their_statistics(manifest: Manifest, tmp_path: Path, method: str) -> None:
    """Also where a method looks at the encoder in between, has a copy of it, or splits its batches."""
    Encoder("test_resnet", size=32).save(tmp_path)
    recipe, _ = planned(manifest, method=method, batch=8, weights=str(tmp_path / "model.safetensors"))
    made = method_of(recipe)
    before = {name: one.clone() for name, one in made.product.state_dict().items() if "running" in name}
    made.product.grid(32)
    assert before
    assert made.training
    seen = views_of(recipe, made)(np.full((40, 40, 3), 200, np.uint8), np.random.default_rng(0))
    made.project(
        {name: torch.from_numpy(np.stack([one] * 8)) for name, one in seen.items()} | {"position": torch.arange(8)}
    )
    after = made.product.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    assert all(p.requires_grad for p in made.encoder.parameters())


def test_views_know_the_range_of_the_pictures(manifest: Manifest) -> None:
    recipe, _ = planned(manifest, method="byol", batch=8)
    deep = replace(recipe, pixels={**recipe.pixels, "dtype": "uint16", "low": 16.0, "high": 1000.0})
    seen: Any = views_of(deep, method_of(deep))
    assert {(one.low, one.high) for one in seen.recipes} == {(16.0, 1000.0)}


def test_another_runs_encoder_starts_as_it_ended(manifest: Manifest, tmp_path: Path) -> None:
    """Its scale and pooling too, which its weights alone do not tell."""
    before = pooled(Encoder("test_vit", size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))).eval()
    before.save(tmp_path / "encoder")
    start = encoder_of(planned(manifest, encoder=str(tmp_path))[0]).eval()
    views = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(start(views), before(views))


def test_every_value_is_told_with_its_reason(manifest: Manifest) -> None:
    rows = {name.strip(): (value, why) for name, value, why in told.plan_rows(*planned(manifest, batch=8))}
    wanted = ["seed", "momentum", "clip", "device", "world", "pixels", "monitor", "precision", "size"]
    wanted += ["weight decay", "micro batch", "channels last", "batch norm", "warmup"]
    assert set(wanted) <= rows.keys()
    assert all(why for _, why in rows.values())
    assert rows["temperature"][1] == "measured for batches up to 64"
    assert rows["optimizer"][1] == "as measured with resnet10t", "and not with the encoder that was asked for"
    assert rows["width"][1] == "the method's default"


def test_ranks_must_share_a_batch_evenly(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match="multiple of 3"):
        planned(manifest, batch=8)
    assert planned(manifest, batch=9)[0].micro_batch == 3


def test_nothing_to_train_on_is_said(manifest: Manifest) -> None:
    held = replace(manifest, test=~manifest.test, use_all=False)
    with pytest.raises(DataError, match="no picture is left to train on"):
        planned(held)


def test_each_setting_is_told_with_where_it_comes_from(manifest: Manifest, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("settings: {width: 32}")
    _, reasons = planned(
        manifest, method="simclr", config=str(config), views="simclr-keep-colour", settings={"temperature": "0.3"}
    )
    told = {name: reasons[f"settings.{name}"] for name in ("augmentation", "temperature", "width", "head")}
    assert told == {
        "augmentation": "as asked",
        "temperature": "as asked",
        "width": "from --config",
        "head": "the method's default",
    }
