"""Weights fit, are adapted as timm adapts them, or are refused by name: nothing is left random in silence."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import adapt_input_conv

from selfsight.errors import MissingError, RecipeError
from selfsight.nn.architectures import ANY_SIZE, arguments_for, beside, usual_scale
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import pooled
from selfsight.nn.weights import WRAPPED, weights_from


@pytest.fixture
def file(tmp_path: Path) -> Path:
    network = timm.create_model("test_resnet", num_classes=10)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_first_convolution_takes_any_channels(file: Path, channels: int) -> None:
    encoder, given = Encoder("test_resnet", size=64, channels=channels), load_file(file)
    told = weights_from(encoder, file)
    own = encoder.backbone.state_dict()
    first = "conv1.0.weight" if "conv1.0.weight" in own else "conv1.weight"
    assert f"{len(own)} of {len(own)} tensors" in told
    assert (first in told) == (channels != 3)
    for name, tensor in own.items():
        expected = adapt_input_conv(channels, given[name]) if name == first else given[name]
        assert torch.equal(tensor, expected), name


def test_transformers_keep_their_patch_size_and_move_their_positions(tmp_path: Path) -> None:
    network = timm.create_model("test_vit")
    torch.save({"model": network.state_dict()}, tmp_path / "vit.pt")
    arguments = arguments_for("test_vit", 64, weights=tmp_path / "vit.pt")
    assert arguments == {"img_size": 64, **ANY_SIZE}
    encoder = Encoder("test_vit", size=64, arguments=arguments)
    assert "adapted: pos_embed" in weights_from(encoder, tmp_path / "vit.pt")
    assert torch.equal(encoder.backbone.patch_embed.proj.weight, network.patch_embed.proj.weight)


def test_a_runs_own_patch_size_is_kept(tmp_path: Path) -> None:
    before = Encoder("test_vit", size=64)
    weights = before.save(tmp_path) / "model.safetensors"
    after = Encoder("test_vit", size=64, arguments=arguments_for("test_vit", 64, weights=weights))
    assert after.arguments == before.arguments
    assert "adapted" not in weights_from(after, weights)


def test_what_a_run_trained_with_is_kept(tmp_path: Path) -> None:
    """Pooling and scale are not in the weights, and a stride neither."""
    before = pooled(Encoder("test_vit", size=64, mean=(0.4,) * 3, std=(0.2,) * 3))
    weights = before.save(tmp_path / "vit") / "model.safetensors"
    assert arguments_for("test_vit", 64, weights=weights) == before.arguments
    assert usual_scale("test_vit", 3, True, weights) == ((0.4,) * 3, (0.2,) * 3)
    assert usual_scale("test_vit", 1, True, weights) == (pytest.approx((0.4,)), pytest.approx((0.2,)))
    weights = Encoder("resnet10t", size=32).save(tmp_path / "cnn") / "model.safetensors"
    assert arguments_for("resnet10t", 64, weights=weights)["output_stride"] == 8
    assert arguments_for("resnet18", 64, weights=weights) == {"zero_init_last": False}, "they belong to another"


def test_a_file_alone_is_taken_for_the_published(tmp_path: Path) -> None:
    loose = (Encoder("test_vit", size=64).save(tmp_path / "run") / "model.safetensors").rename(tmp_path / "loose.pt")
    wrong = '{"architecture": "test_vit", "model_args": {"patch_size": 2}, "pretrained_cfg": {"mean": ["x"]}}'
    for text in ("", "{}", "[]", '{"architecture": 3}', wrong):
        (tmp_path / "config.json").write_text(text)
        assert arguments_for("test_vit", 64, weights=loose) == {"img_size": 64, **ANY_SIZE}
        assert usual_scale("test_vit", 3, True, loose) == usual_scale("test_vit", 3, True)


@pytest.mark.parametrize(
    ("ending", "prefix"), [("pth", "module.encoder_q."), *(("safetensors", one) for one in ("module.", *WRAPPED[1:]))]
)
def test_weights_of_other_training_codes_fit(file: Path, tmp_path: Path, ending: str, prefix: str) -> None:
    """Names behind a prefix, beside another copy of the network and a head."""
    given = load_file(file)
    saved = {f"{prefix}{name}": tensor for name, tensor in given.items()} | {"head.mlp.0.weight": torch.zeros(2, 2)}
    saved |= {f"module.encoder_k.{name}": torch.zeros_like(tensor) for name, tensor in given.items()}
    target = tmp_path / f"whole.{ending}"
    if ending == "safetensors":
        save_file(saved, target)
    else:
        torch.save({"state_dict": saved, "args": Namespace(lr=1)}, target)
    encoder = Encoder("test_resnet", size=32)
    assert f", under {prefix!r}" in weights_from(encoder, target)
    assert all(torch.equal(tensor, given[name]) for name, tensor in encoder.backbone.state_dict().items())


def test_other_shapes_are_refused_by_name(file: Path, tmp_path: Path) -> None:
    given = load_file(file)
    name = next(key for key, tensor in given.items() if key.startswith("layer2") and tensor.ndim == 4)
    save_file({**given, name: torch.zeros(1, 2, 3, 3)}, tmp_path / "odd.safetensors")
    with pytest.raises(RecipeError, match=rf"1 tensors of .*{name} \(1, 2, 3, 3\) for"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / "odd.safetensors")


def test_a_tensor_that_is_missing_is_told(file: Path, tmp_path: Path) -> None:
    given = load_file(file)
    save_file(
        {key: tensor for key, tensor in given.items() if key != "layer1.0.bn1.bias"}, tmp_path / "less.safetensors"
    )
    assert weights_from(Encoder("test_resnet", size=32), tmp_path / "less.safetensors").endswith(
        "random: layer1.0.bn1.bias"
    )
    with pytest.raises(RecipeError, match="choose the --encoder"):
        weights_from(Encoder("resnet18", size=32), file)
    save_file({"visual.stem": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(RecipeError, match=r"fits 0 of .*; it has visual\.stem\); choose the --encoder"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors"])
def test_garbage_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no weights file at all")
    with pytest.raises(MissingError, match="holds no weights that can be read"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / name)
    with pytest.raises(MissingError, match="there is no weights file"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / "none.pt")


def test_a_checkpoint_of_another_tool_is_told_by_its_own_folder(tmp_path: Path) -> None:
    file = tmp_path / "out" / "checkpoints" / "step-100" / "model.safetensors"
    file.parent.mkdir(parents=True)
    assert beside(file) == tmp_path / "out" / "untrained"  # as of a run
    file.with_name("config.json").write_text("{}")
    assert beside(file) == file.parent
