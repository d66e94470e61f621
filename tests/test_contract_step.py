"""What every method promises of one step: a pure loss, per-sample projections, saved state, parameters that learn."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_parts import (
    NAMES,
    SIZE,
    batch_of,
    begun,
    everything_scanned,
    freeze_norms,
    made,
    one_step,
    same,
    short,
    snapshot,
    taught,
)
from torch import nn

from selfsight import methods
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.methods.base import Epoch, Method
from selfsight.training import gradcache, optimizers, schedule

NORMLESS = {"beit", "context", "dvae", "ijepa", "mae", "vq", "vqkd"}  # methods without a batch norm that training moves
HELD = bool | int | float | str | bytes | list | tuple | dict | set | np.ndarray | None  # what an attribute may be

pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def manifest(name: str, samples: Path) -> Manifest:
    return everything_scanned(taught(name, samples))


def terms_of(method: Method, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        targets = method.targets(batch)
    return method.loss({**method.project(batch), **targets}, batch)


def test_views_feed_the_loss(name: str, manifest: Manifest) -> None:
    method = made(name)
    batch = batch_of(method, manifest, 16)
    assert {"index", "label", "position"} <= batch.keys()
    assert all(len(tensor) == 16 for tensor in batch.values())
    begun(method, manifest)
    terms = terms_of(method, batch)
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    assert terms["loss"].requires_grad


def test_views_are_light_and_survive_pickling(name: str, manifest: Manifest) -> None:
    views = made(name).views(SIZE)
    written = pickle.dumps(views)
    assert len(written) < 10_000
    sample = KINDS[manifest.kind].decode(manifest.paths[0])
    first, second = (v(sample, keyed(0, 7, Purpose.VIEWS)) for v in (views, pickle.loads(written)))
    assert first.keys() == second.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key])
        assert array.dtype.kind in "ui", "views are pixels as decoded, and integer facts"


def test_loss_is_pure_and_targets_have_no_gradient(name: str, manifest: Manifest) -> None:
    method = made(name)
    batch = batch_of(method, manifest, 16)
    begun(method, manifest)
    with torch.no_grad():
        targets = method.targets(batch)
    projections = {**method.project(batch), **targets}
    facts = {key: tensor.clone() for key, tensor in batch.items()}
    before, generator = snapshot(method), torch.get_rng_state()
    assert method.training
    method.loss(projections, batch)["loss"].backward()
    assert not same(before, snapshot(method))
    assert not same(facts, batch)
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(tensor.requires_grad for tensor in method.targets(batch).values())


def test_hooks_leave_the_global_generators_alone(name: str, manifest: Manifest) -> None:
    """A hook that drew from them would draw something else after a resume."""
    method = made(name)
    batch = batch_of(method, manifest, 16)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    epoch = begun(method, manifest)
    method.order(epoch)
    _, projections = terms_of(method, batch), {**method.project(batch), **method.targets(batch)}
    method.on_step_end({key: tensor.detach() for key, tensor in projections.items()}, batch)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_order_is_a_pure_function_of_epoch_and_buffers(name: str, manifest: Manifest) -> None:
    method = made(name)
    first = begun(method, manifest)
    epochs = [Epoch(n, 3, 10, first.labels, first.features, first.forget) for n in (0, 1)]
    orders = [method.order(epoch) for epoch in epochs]
    for epoch, order in zip(epochs, orders, strict=True):
        assert order.dtype == torch.int64
        assert order.shape == (60,)
        assert 0 <= int(order.min()) <= int(order.max()) < 64
        assert torch.equal(order, method.order(epoch))
    assert not torch.equal(*orders)


@pytest.mark.parametrize("encoder", [None, "test_vit"], ids=["its own", "test_vit"])
def test_micro_batches_equal_the_batch(
    name: str, encoder: str | None, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64: rounding would hide what is looked for, where the pictures' gradients nearly cancel."""
    method = freeze_norms(made(name, encoder=encoder if methods.get(name).kind == "pictures" else None))
    batch = batch_of(method, manifest, 16)
    begun(method, manifest)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method.double()
    whole, seen = one_step(method, batch)
    expected = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
    parts, again = one_step(method, batch, micro=4)
    assert {key for key, p in method.named_parameters() if p.requires_grad} == expected.keys()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for key, p in method.named_parameters():
        if p.requires_grad:
            error = float((p.grad - expected[key]).norm())
            assert error <= 1e-9 * float(expected[key].norm()) + 1e-12 * largest, key
    assert whole.keys() == parts.keys()
    assert seen.keys() == again.keys()
    for key, term in whole.items():
        torch.testing.assert_close(parts[key], term, rtol=1e-9, atol=1e-12)


def test_the_pass_without_graph_moves_running_statistics_once(name: str, manifest: Manifest) -> None:
    """In micro-batches every norm sees each sample once: as if each were given to it, one after the other."""
    method = made(name)
    batch = batch_of(method, manifest, 16)
    begun(method, manifest)
    whole, parts, plain = (copy.deepcopy(method) for _ in range(3))
    one_step(whole, batch)
    one_step(parts, batch, micro=4)
    with torch.no_grad():
        for look in (plain.targets, plain.project):
            for part in gradcache.split(batch, 4):
                look(part)
    norms = {key: norm for key, norm in method.named_modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)}
    assert any(norm.training for norm in norms.values()) == (name not in NORMLESS)
    for key, norm in norms.items():
        counts = [int(one.get_submodule(key).num_batches_tracked) for one in (method, whole, parts)]
        assert (counts[1] > counts[0]) == norm.training, key
        assert counts[2] - counts[0] == 4 * (counts[1] - counts[0]), key
        for statistic in ("running_mean", "running_var"):
            before, after, expected = (getattr(one.get_submodule(key), statistic) for one in (method, parts, plain))
            assert torch.equal(before, after) != norm.training, key
            torch.testing.assert_close(after, expected)


def test_every_parameter_learns_and_is_trained_once(name: str, manifest: Manifest) -> None:
    method = made(name)
    batch = batch_of(method, manifest, 16)
    begun(method, manifest)
    grouped = Counter(id(p) for group in method.groups() for p in group.parameters)
    assert set(grouped.values()) == {1}
    assert grouped.keys() == {id(p) for p in method.parameters() if p.requires_grad}
    optimizer = optimizers.build(method.groups(), type(method).defaults(SIZE), 0.05)
    learned = set()
    for _ in range(3):
        _, projections = one_step(method, batch)
        learned |= {key for key, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
        method.on_step_end(projections, batch)
    assert learned == {key for key, p in method.named_parameters() if p.requires_grad}


def attributes(method: Method) -> dict[str, bytes]:
    """What a method and all modules in it hold beside tensors and modules: numbers, texts, arrays and lists of such."""
    return {
        f"{key}.{attribute}": pickle.dumps(value)
        for key, module in method.named_modules()
        for attribute, value in vars(module).items()
        if attribute not in vars(nn.Module()) and isinstance(value, HELD)
    }


def test_all_that_a_step_changes_is_state(name: str, manifest: Manifest) -> None:
    """Every tensor that a module holds is a parameter or a buffer that is saved: nothing else can be lost."""
    method = made(name)
    batch = batch_of(method, manifest, 16)
    begun(method, manifest)
    saved = {id(tensor) for tensor in method.state_dict(keep_vars=True).values()}
    for key, module in method.named_modules():
        held = [*module._parameters.values(), *module._buffers.values()]
        held += [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
        assert all(id(tensor) in saved for tensor in held if tensor is not None), key
    before = attributes(method)
    _, projections = one_step(method, batch)
    method.on_step_end(projections, batch)
    after = attributes(method)
    assert {key for key in before | after if before.get(key) != after.get(key)} == set(), "what changes is not saved"


def test_the_constructor_keeps_its_arguments(name: str) -> None:
    method = made(name)
    for setting, parameter in methods.settings(type(method)).items():
        kept = getattr(method, setting)
        assert not isinstance(kept, torch.Tensor | torch.nn.Module)
        assert kept == short(name).get(setting, parameter.default) or parameter.default is None


def test_eight_pictures_are_learned_by_heart(name: str, manifest: Manifest) -> None:
    """The same draws at every step: at least nine tenths of the way from chance to the least loss there is.

    With the optimizer of the method's family and a rate that decays, as in training: a loss with a kink at its optimum
    never comes to rest under SGD with a fixed rate. No two of them share a label: eight of one class would leave a
    method that uses labels nothing to tell apart.
    """
    start = 2 if name == "pull_push" else 0  # from 0 its hinge stays on a plateau, and rounding decides for how long
    own = {key: 32 for key in ("negatives", "support") if key in methods.settings(methods.get(name))}
    method = made(name, count=8, seed=start, **own)
    batch = batch_of(method, manifest, 8) | {"label": torch.arange(8)}
    begun(method, manifest, 8)
    method.progress = 1.0
    trained, training = [p for p in method.parameters() if p.requires_grad], type(method).defaults(SIZE)
    adaptive = training.optimizer == "adamw"
    lr = training.lr if adaptive else 0.1
    optimizer = torch.optim.AdamW(trained, lr) if adaptive else torch.optim.SGD(trained, lr, momentum=0.9)
    chance, floor = method.chance(8), method.floor(8)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule.rate(step / 400, 0.0)
        terms, projections = one_step(method, batch)
        least = floor + float(terms.get("least", 0.0))  # what no student can lessen: a teacher that is unsure
        if float(terms["loss"]) <= chance - 0.9 * (chance - least):
            return
        torch.nn.utils.clip_grad_norm_(method.parameters(), 5.0)
        optimizer.step()
        method.on_step_end(projections, batch)
    pytest.fail(f"{name}: {float(terms['loss']):.3f}, chance {chance:.3f}, least {least:.3f}")
