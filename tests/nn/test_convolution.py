"""Convolutions by products of matrices: torch's own in float64 as the slow twin, and where they are taken."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from selfsight.nn.convolution import Convolution, by_products
from selfsight.nn.encoder import Encoder

CASES = {
    "same": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2, "bias": True},
    "one pixel": {"kernel_size": 1, "stride": 2},
    "oblong": {"kernel_size": (3, 2), "padding": (0, 1), "stride": (1, 2), "dilation": (1, 2)},
}


def layer(inner: int, outer: int, **shape: object) -> nn.Module:
    return by_products(nn.Sequential(nn.Conv2d(inner, outer, **{"bias": False, **shape})))[0]


def taken(out: torch.Tensor) -> bool:
    """Whether the result comes from a product, by its graph."""
    steps, names = [out.grad_fn], set()
    while steps:
        step = steps.pop()
        if step is not None:
            names.add(step.name())
            steps += [before for before, _ in step.next_functions]
    return "_ProductBackward" in names


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_torchs(case: str, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    twin = layer(8, 128, **CASES[case]).double().to(memory_format=layout)
    x = torch.randn(2, 8, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(twin(x).shape, generator=generator, dtype=torch.float64)
    want = torch.autograd.grad((twin.eval()(x) * slope).sum(), [x, *twin.parameters()])
    found = twin.train()(x)
    assert taken(found)
    torch.testing.assert_close(found, twin.eval()(x), rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad((found * slope).sum(), [x, *twin.parameters()]), want, strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_near_the_truth_as_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    x, slope = (torch.randn(8, 256, 2, 2, generator=generator) for _ in range(2))
    own = layer(256, 256, kernel_size=3, padding=1).to(memory_format=torch.channels_last)

    def gradients(mode: bool, kind: torch.dtype) -> list[torch.Tensor]:
        given = x.to(kind).to(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.float32):
            out = copy.deepcopy(own).to(kind).train(mode)
            found = out(given)
        assert taken(found) == mode
        return [found, *torch.autograd.grad((found * slope.to(kind)).sum(), [given, out.weight])]

    truth = gradients(False, torch.float64)
    for exact, mine, theirs in zip(truth, gradients(True, torch.float32), gradients(False, torch.float32), strict=True):
        error, usual = ((one.double() - exact).norm() / exact.norm() for one in (mine, theirs))
        assert error < 1.5 * usual
        assert usual < 0.01


def test_the_gradient_lies_in_memory_as_the_weights_do() -> None:
    one = layer(64, 64, kernel_size=3, padding=1).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = one(torch.randn(2, 64, 2, 2).to(memory_format=torch.channels_last))
    out.float().sum().backward()
    assert taken(out)
    assert one.weight.grad.stride() == one.weight.stride()
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_only_small_maps_of_wide_layers_in_train_mode() -> None:
    one, few, many = layer(8, 32, kernel_size=3, padding=1), torch.zeros(2, 8, 4, 4), torch.zeros(4, 8, 4, 4)
    assert taken(one(few))
    assert not taken(one(many))
    with torch.autocast("cpu", torch.bfloat16):  # of half the bytes
        assert taken(one(many))
    assert not taken(one.eval()(few))


def test_other_layers_stay_as_they_are() -> None:
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), nn.Conv1d(8, 8, 3)
    )
    kinds = [type(one) for one in network]
    assert [type(one) for one in by_products(network)] == kinds
    named = layer(8, 64, kernel_size=3, padding="same")
    assert type(named) is Convolution
    x = torch.randn(1, 8, 2, 2)
    assert torch.equal(named(x), conv2d(x, named.weight, padding="same"))


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_a_network_learns_as_with_torchs_layers(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name, size=64).double().train()
    plain = copy.deepcopy(encoder)
    for one in plain.modules():
        if type(one) is Convolution:
            one.__class__ = nn.Conv2d
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    outputs = []
    for network in (encoder, plain):
        out = network(x)
        out.square().mean().backward()
        outputs.append(out)
    assert taken(outputs[0])
    assert not taken(outputs[1])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(encoder.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-9)
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder.eval()(x), plain.eval()(x))
