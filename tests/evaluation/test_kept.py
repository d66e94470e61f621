"""Answers on disk: the same question of the same data is computed once, and never a wrong one is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import selfsight
from selfsight import cli
from selfsight.evaluation import kept, linear, measure
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import pooled


@dataclass(frozen=True)
class Found:
    by_pair: dict[tuple[int, float], np.ndarray]
    share: float
    parts: tuple[np.ndarray, ...]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counted(asked: list[int]) -> Callable[[], Found]:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)

    def make() -> Found:
        asked.append(1)
        return Found({(5, 0.1): rows.T, (1, 0.07): rows > 2}, float(np.float32(0.1)), (rows, np.zeros((0, 2))))

    return make


def test_an_answer_is_computed_once_and_comes_back_as_it_was() -> None:
    asked: list[int] = []
    first, again = (kept.once(counted(asked), "rows", np.arange(3), types=(Found,)) for _ in range(2))
    assert len(asked) == 1
    assert first.share == again.share
    assert list(first.by_pair) == list(again.by_pair)
    pairs = zip((*first.by_pair.values(), *first.parts), (*again.by_pair.values(), *again.parts), strict=True)
    for one, other in pairs:
        assert (one.dtype, one.shape, one.tolist()) == (other.dtype, other.shape, other.tolist())
    again.parts[0][0] = 7  # who has it may write to it
    assert kept.once(counted(asked), "rows", np.arange(3), types=(Found,)).parts[0][0, 0] == 0


@pytest.mark.parametrize(
    "key",
    [
        ("row", np.arange(3)),
        ("rows", np.arange(4)),
        ("rows", np.arange(3)[::-1]),
        ("rows", np.arange(3)[None]),
        ("rows", np.arange(3, dtype=np.int32)),
        ("rows", np.arange(3), None),
        ("rows", (np.arange(3),)),
    ],
)
def test_another_question_is_asked_anew(key: tuple[Any, ...]) -> None:
    asked: list[int] = []
    for one in (("rows", np.arange(3)), key):
        kept.once(counted(asked), *one, types=(Found,))
    assert len(asked) == 2


def test_what_is_damaged_cut_off_or_cannot_be_kept_is_computed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    kept.once(counted(asked), types=(Found,))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for content in (whole[:-1] + b"x", whole[:40], b"", bytes(32) + whole[32:]):
        file.write_bytes(content)
        kept.once(counted(asked), types=(Found,))
        assert file.read_bytes() == whole
    assert len(asked) == 5
    monkeypatch.setenv("SELFSIGHT_CACHE", "/proc/nowhere")
    kept.once(counted(asked), types=(Found,))
    assert len(asked) == 6


def test_networks_are_told_apart_by_weights_and_by_shape() -> None:
    class Network(nn.Linear):
        device = torch.device("cpu")
        name = "linear"

    torch.manual_seed(0)
    one, turned, other = Network(2, 3), Network(3, 2), Network(2, 3)
    turned.weight.data = one.weight.data.reshape(2, 3)
    turned.bias.data = one.bias.data[:2]
    assert len({kept.network(net) for net in (one, turned, other)}) == 3  # type: ignore[arg-type]
    other.load_state_dict(one.state_dict())
    assert kept.network(one) == kept.network(other)  # type: ignore[arg-type]


def test_a_mean_of_patches_is_not_a_class_token() -> None:
    """Modules and tensors of both are the same, what they say of a picture is not."""
    token, mean = (Encoder("test_vit", size=32).eval() for _ in range(2))
    mean.load_state_dict(token.state_dict())
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(token(pixels), mean(pixels))
    assert kept.network(token) == kept.network(mean)
    pooled(mean)
    assert str(token) == str(mean)
    assert not torch.equal(token(pixels), mean(pixels))
    assert kept.network(token) != kept.network(mean)


def test_a_set_is_measured_anew_only_where_the_encoder_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baselines come from disk, the encoder's pictures are read, and all numbers are the same."""
    tiny = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1, "length": "1steps"}
    run = selfsight.train(photos, **tiny, out=tmp_path / "run", quiet=True)
    probed, embedded = [], []
    fit, embed = linear.measure, measure.embed
    monkeypatch.setattr(linear, "measure", lambda *rows, **more: probed.append(1) or fit(*rows, **more))
    monkeypatch.setattr(measure, "embed", lambda *given, **more: embedded.append(1) or embed(*given, **more))
    found = []
    for _ in range(2):
        assert cli.main(["evaluate", str(run.folder)]) == 0
        found.append(json.loads((run.folder / "evaluation.json").read_bytes()))
    assert found[0] == found[1]
    assert (len(probed), len(embedded)) == (4, 3)
