"""Weights fit, are adapted as timm adapts them, or are refused by name: nothing is left random in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import adapt_input_conv

from selfsight.errors import MissingError, RecipeError
from selfsight.nn.architectures import ANY_SIZE, arguments_for
from selfsight.nn.encoder import Encoder
from selfsight.nn.weights import weights_from


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


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors"])
def test_garbage_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no weights file at all")
    with pytest.raises(MissingError, match="holds no weights that can be read"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / name)
    with pytest.raises(MissingError, match="there is no weights file"):
        weights_from(Encoder("test_resnet", size=32), tmp_path / "none.pt")
