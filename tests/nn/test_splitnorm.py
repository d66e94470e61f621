"""Split batch norm: check values, a slow twin per group, conversion, shuffling."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from selfsight.nn.splitnorm import SplitBatchNorm, shuffle, split_batch_norm, splits_for

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["split_batchnorm"]


def pictures(count: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def test_check_values() -> None:
    x = torch.tensor(CHECK["inputs"]["x"], dtype=torch.float64).view(8, 1, 1, 1)
    norm = SplitBatchNorm(1, CHECK["inputs"]["splits"]).double()
    expected = torch.tensor(CHECK["expected"]["output"], dtype=torch.float64)
    torch.testing.assert_close(norm(x).flatten(), expected, rtol=1e-9, atol=0)
    for group, samples in CHECK["expected"]["groups"].items():
        assert samples == [*range(int(group), 8, 4)]


def test_each_group_is_a_batch_of_its_own_and_running_statistics_are_their_mean() -> None:
    x, split = pictures(), SplitBatchNorm(3, 4)
    nn.init.uniform_(split.weight)
    nn.init.uniform_(split.bias)
    parts = [nn.BatchNorm2d(3) for _ in range(4)]
    for part in parts:
        part.load_state_dict(split.state_dict())
    out = split(x)
    for n, part in enumerate(parts):
        torch.testing.assert_close(out[n::4], part(x[n::4]))
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(part, name) for part in parts]).mean(dim=0)
        torch.testing.assert_close(getattr(split, name), mean)
    assert int(split.num_batches_tracked) == 1


def test_eval_mode_is_plain_batch_norm() -> None:
    split, plain = SplitBatchNorm(3, 4), nn.BatchNorm2d(3)
    split(pictures())
    plain.load_state_dict(split.state_dict())
    assert torch.equal(split.eval()(pictures(5)), plain.eval()(pictures(5)))


@pytest.mark.parametrize(("count", "groups"), [(8, 4), (6, 3), (9, 3), (7, 1), (4, 2), (2, 1)])
def test_a_batch_that_does_not_divide_takes_fewer_groups(count: int, groups: int) -> None:
    x = pictures(count)
    torch.testing.assert_close(SplitBatchNorm(3, 4)(x), SplitBatchNorm(3, groups)(x))
    assert SplitBatchNorm(3, 4)._groups(count) == groups


def test_cumulative_average_and_channels_last() -> None:
    split = SplitBatchNorm(3, 2, momentum=None)
    x = pictures()
    out = split(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, SplitBatchNorm(3, 2)(x))
    torch.testing.assert_close(split.running_mean, x.mean(dim=(0, 2, 3)))


def test_conversion_keeps_names_values_and_activations() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3)))
    net(pictures())
    plain = copy.deepcopy(net).eval()
    split_batch_norm(net, 4)
    assert sum(isinstance(m, SplitBatchNorm) for m in net.modules()) == 2
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(net.eval()(pictures()), plain(pictures()))
    assert net(pictures()).min() == 0  # the second layer's own ReLU
    plain.load_state_dict(net.state_dict())


def test_permuting_the_keys_changes_them_only_with_splits() -> None:
    x, (there, back) = pictures(), shuffle(8, key=3)
    plain, split = nn.BatchNorm2d(3), SplitBatchNorm(3, 4)
    torch.testing.assert_close(plain(x[there])[back], plain(x))
    assert not torch.allclose(split(x[there])[back], split(x))


def test_unshuffle_undoes_shuffle_and_the_key_decides() -> None:
    there, back = shuffle(32, key=7)
    x = torch.arange(32)
    assert torch.equal(x[there][back], x)
    assert torch.equal(there, shuffle(32, key=7)[0])
    assert not torch.equal(there, shuffle(32, key=8)[0])


def test_shuffling_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    shuffle(32, key=7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("batch", "splits"), [(512, 8), (256, 4), (128, 2), (64, 2), (100, 2), (7, 1), (192, 3)])
def test_groups_for_a_batch(batch: int, splits: int) -> None:
    assert splits_for(batch)[0] == splits
