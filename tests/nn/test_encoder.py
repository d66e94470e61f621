"""Any timm name at a small size, or a sentence; what is saved is whole when its config.json is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from selfsight import checkpoints
from selfsight.errors import MissingError, RecipeError
from selfsight.nn.encoder import Encoder

SMALL_NAMES = ("mobilevit_xxs", "efficientvit_b0", "fastvit_t8", "levit_128s", "mixer_s32_224", "repvit_m0_9")


@pytest.mark.parametrize("name", SMALL_NAMES)
def test_architectures_take_the_size_as_they_can(name: str, tmp_path: Path) -> None:
    encoder = Encoder(name, size=64)
    encoder.check()
    assert encoder.training
    again = Encoder.load(encoder.save(tmp_path)).eval()
    views = torch.zeros(1, 3, 64, 64)
    assert torch.equal(again(views), encoder.eval()(views))


def test_what_cannot_take_the_size_names_one_that_can() -> None:
    with pytest.raises(RecipeError, match=r"efficientformer_l1.*64 px.*--size 224"):
        Encoder("efficientformer_l1", size=64).check()


def test_resnets_and_small_transformers_stay_as_they_are() -> None:
    assert Encoder("resnet18", size=32).arguments == {"zero_init_last": False, "output_stride": 8}
    small = {"img_size": 64, "patch_size": 8, "dynamic_img_size": True, "dynamic_img_pad": True}
    assert Encoder("vit_tiny_patch16_224", size=64).arguments == small


@pytest.mark.parametrize(("name", "odd"), [("test_vit", 10), ("swin_tiny_patch4_window7_224", 20)])
def test_transformers_take_tiles_of_another_size(name: str, odd: int) -> None:
    encoder = Encoder(name, size=32).eval()
    assert [encoder(torch.zeros(2, 3, side, side)).shape for side in (32, 12, odd)] == [(2, encoder.width)] * 3


def test_config_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(checkpoints, "replace_file", lambda path, content: written.append(path.name))
    Encoder("test_resnet", size=32).save(tmp_path)
    assert written[-1] == "config.json"


@pytest.mark.parametrize("shape", [[], ["x" * 400]])
def test_a_shape_without_a_size_is_no_encoder(shape: list[object], tmp_path: Path) -> None:
    folder = Encoder("test_resnet", size=32).save(tmp_path / "encoder", {})
    (folder / "digests.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = shape
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingError, match="holds no encoder that can be read"):
        Encoder.load(folder)


def test_a_scale_without_width_is_no_encoder(tmp_path: Path) -> None:
    encoder = Encoder("test_resnet", size=32)
    encoder.low = encoder.high
    with pytest.raises(MissingError, match="its scale of pixels has no width"):
        Encoder.load(encoder.save(tmp_path / "encoder", {}))
