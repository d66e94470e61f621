"""From a device's name to Fabric's words for it, and from a folder to an encoder for a run's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from selfsight.errors import MissingError, RecipeError
from selfsight.nn.encoder import Encoder
from selfsight.training.build import accelerator_of, from_elsewhere


def test_the_device_that_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert accelerator_of("cpu") == ("cpu", 1)
    assert accelerator_of("cuda") == ("cuda", [0])
    assert accelerator_of("cuda:1") == ("cuda", [1])
    assert accelerator_of("mps") == ("mps", 1)
    with pytest.raises(MissingError, match="cuda:2 asks for a card that is not there; torch sees 2"):
        accelerator_of("cuda:2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(MissingError, match="3 ranks on this machine need a card each and torch sees 2; start fewer"):
        accelerator_of("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cpu:1", "", "xla"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="there is no device"):
        accelerator_of(name)


def test_what_torch_does_not_see_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(MissingError, match="use --device cpu"):
            accelerator_of(name)


def test_an_encoder_from_elsewhere_sees_the_pixels_of_the_run(tmp_path: Path) -> None:
    own = Encoder("test_resnet", size=32)
    own.save(tmp_path)
    found = from_elsewhere(str(tmp_path), 32, {"channels": 3, "low": 100.0, "high": 4000.0})
    deep, plain = torch.from_numpy(np.full((1, 4, 4, 3), 4000, np.uint16)), torch.full((1, 4, 4, 3), 255).byte()
    torch.testing.assert_close(found.normalised(deep), own.normalised(plain))
    with pytest.raises(RecipeError, match="takes pictures of 3 channels; this run learned from 5"):
        from_elsewhere(str(tmp_path), 32, {"channels": 5, "low": 0.0, "high": 255.0})


def test_weights_that_are_not_here_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **options: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    scale = {"channels": 3, "low": 0.0, "high": 255.0}
    with pytest.raises(MissingError, match=r"ConnectionError.*`evaluate` and `compare` --pretrained FOLDER"):
        from_elsewhere("resnet18.a1_in1k", 32, scale)
    with pytest.raises(RecipeError, match=r"no encoder 'resnet18\.a1_in2k'.*Did you mean resnet18\.a1_in1k"):
        from_elsewhere("resnet18.a1_in2k", 32, scale)
