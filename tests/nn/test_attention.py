"""Attention by plain products: float64 as the truth, torch's fused one beside it, and where it is taken."""

from __future__ import annotations

from functools import partial
from unittest.mock import Mock

import pytest
import torch
from contract_parts import SIZE, made
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as fused

from selfsight.nn import attention
from selfsight.nn.attention import PlainAttention
from selfsight.nn.encoder import Encoder
from selfsight.nn.predictor import Layer, Predictor
from selfsight.training import gradcache


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Counts the calls that plain products answer."""
    found = Mock(wraps=attention.attention)
    monkeypatch.setattr(attention, "attention", found)
    return found


def rows(tokens: int = 9, kind: torch.dtype = torch.bfloat16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, tokens, 16, generator=generator).to(kind).requires_grad_() for _ in range(3)]


def test_values_and_gradients_in_float64() -> None:
    given = rows(kind=torch.float64)
    weights = torch.einsum("bhnd,bhmd->bhnm", given[0], given[1]).div(4).softmax(dim=-1)
    truth = torch.einsum("bhnm,bhmd->bhnd", weights, given[2])
    found = attention.attention(*given)
    torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-6)  # the softmax is in single precision
    slope = torch.randn_like(truth)
    for mine, theirs in zip(*(torch.autograd.grad(out, given, slope) for out in (found, truth)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_as_near_the_truth_as_the_fused_one(plain: Mock) -> None:
    given, slope = rows(tokens=65), torch.randn(2, 3, 65, 16, generator=torch.Generator().manual_seed(1))

    def made(kind: torch.dtype) -> list[Tensor]:
        asked = [one.detach().to(kind).requires_grad_() for one in given]
        out = fused(*asked)
        return [out, *torch.autograd.grad(out, asked, slope.to(kind))]

    truth, usual = made(torch.float64), made(torch.bfloat16)
    with PlainAttention():
        ours = made(torch.bfloat16)
    assert plain.call_count == 1
    for exact, mine, theirs in zip(truth, ours, usual, strict=True):
        error, other = ((one.double() - exact).norm() / exact.norm() for one in (mine, theirs))
        assert error < 2 * other
        assert other < 0.01


def test_only_short_rows_in_bfloat16_without_masks(plain: Mock) -> None:
    with PlainAttention():
        fused(*rows(kind=torch.float32))
        fused(*rows(tokens=attention.LONGEST + 1))
        fused(*rows(), is_causal=True)
        fused(*rows(), attn_mask=torch.ones(9, 9, dtype=torch.bool))
        fused(*rows(), None, 0.5)
        fused(*rows(), scale=1.0)
        assert plain.call_count == 0
        fused(*rows(), None, 0.0, is_causal=False)
        assert plain.call_count == 1
        with torch.autocast("cpu", torch.bfloat16):
            fused(*rows(kind=torch.float32))
    assert plain.call_count == 2
    fused(*rows())
    assert plain.call_count == 2, "outside"


@pytest.mark.parametrize("network", ["encoder", "predictor"])
def test_transformers_take_it(network: str, plain: Mock) -> None:
    model: nn.Module = Encoder("test_vit", size=32).train()
    given: tuple[Tensor, ...] = (torch.randn(4, 3, 32, 32),)
    if network == "predictor":
        model = Predictor(32, 16, (4, 4), width=32, depth=2, heads=2)
        given = (torch.randn(4, 9, 32), torch.arange(9).expand(4, 9), torch.arange(9, 16).expand(4, 7))
    gradients = []
    for mode in (PlainAttention(), torch.autocast("cpu", enabled=False)):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), mode:
            out = model(*given).float()
        (out * torch.linspace(-1, 1, out.shape[-1])).mean().backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters()]))
    assert plain.call_count > 0
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_a_predictors_layer_is_torchs() -> None:
    layer = Layer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
    twin = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    twin.load_state_dict(layer.state_dict())
    given = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(given), twin(given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro", [4, 2])
def test_a_step_of_training_takes_it(micro: int, plain: Mock) -> None:
    method = made("simclr", encoder="test_vit")
    views = torch.randint(0, 256, (4, 2, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(0)).byte()
    for half in (False, True):
        autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=half)
        step = partial(gradcache.gradient, method, method.project, {"views": views}, micro, key=0)
        step(backward=Tensor.backward, autocast=autocast)
        assert (plain.call_count > 0) == half
