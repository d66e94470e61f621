"""SwAV: its recipes, codes over batch and queue, when the queue comes in, prototypes of length 1 that wait."""

from __future__ import annotations

import copy
from math import log

import numpy as np
import pytest
import torch
from method_parts import TinyEncoder, batch_from, batch_of, one_step

from selfsight import methods
from selfsight.clusters.sinkhorn import sinkhorn
from selfsight.errors import RecipeError
from selfsight.losses.swapped_prediction import swapped_prediction
from selfsight.methods.base import Facts
from selfsight.methods.swav import SwAV
from selfsight.nn.encoder import Encoder

SETTINGS = {"prototypes": 6, "hidden": 16, "width": 8, "queue": 0, "local_views": 0}


def made(**settings: object) -> SwAV:
    torch.manual_seed(0)
    return SwAV(TinyEncoder(), **{**SETTINGS, **settings})


def resolved(size: int, batch: int = 256, count: int = 10**6, **settings: object) -> dict[str, object]:
    found = SwAV.resolve(settings, Facts(count=count, batch=batch, size=size, channels=3, classes=0))
    assert all(reason for _, reason in found.values())
    return {name: value for name, (value, _) in found.items()}


def slow_loss(method: SwAV, scores: torch.Tensor, past: torch.Tensor | None = None) -> float:
    """Codes of each large view, with what was before, in numbers of 64 bits."""
    codes = []
    for view in (0, 1):
        every = scores[:, view] if past is None else torch.cat([past[:, view], scores[:, view]])
        codes.append(sinkhorn(every.double(), epsilon=method.epsilon, iterations=3)[-len(scores) :])
    return swapped_prediction(scores.double(), torch.stack(codes, dim=1), temperature=method.temperature).item()


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("swav") is SwAV
    own = {"temperature", "epsilon", "queue_from", "freeze", "augmentation"}
    assert set(methods.settings(SwAV)) == {*SETTINGS, *own}


def test_size_batch_and_pictures_decide() -> None:
    assert resolved(224) == {"prototypes": 3000, "local_views": 6, "queue": 3840}
    assert resolved(32, batch=128) == {"prototypes": 512, "local_views": 0, "queue": 3840}
    assert resolved(32, batch=512)["queue"] == 0, "the batch is large enough"
    assert resolved(32, batch=128, count=3000)["queue"] == 11 * 128
    assert resolved(32, batch=128, count=900)["queue"] == 0, "fewer than four batches"
    assert resolved(32, batch=128, prototypes=100)["queue"] == 0
    with pytest.raises(RecipeError, match=r"SwAV\.resolve"):
        made(queue=None)
    assert "queue" not in resolved(32, batch=128, queue=128)
    with pytest.raises(RecipeError, match="128 keys do not fit into a queue of 100"):
        resolved(32, batch=128, queue=100)
    with pytest.raises(RecipeError, match="'mixer_s32_224' cannot take the 27 px parts of a view"):
        SwAV(Encoder("mixer_s32_224", size=64), **{**SETTINGS, "local_views": 2})


def test_the_head_has_the_published_size() -> None:  # 512-2048-128, and 3000 prototypes of 128
    method = SwAV(TinyEncoder(512), **{**SETTINGS, "prototypes": 3000, "hidden": 2048, "width": 128})
    assert sum(p.numel() for p in method.scores.parameters()) == 3000 * 128
    assert sum(p.numel() for p in method.projector.parameters()) == 512 * 2048 + 2 * 2048 + 2048 * 128 + 128


def test_loss_equals_its_slow_twin_with_small_crops() -> None:
    method = made(local_views=3).eval()
    pictures = [np.random.default_rng(seed).integers(0, 256, (50, 60, 3), dtype=np.uint8) for seed in range(4)]
    batch = batch_from(method.views(28), pictures, np.random.default_rng(0)) | {"index": torch.arange(4)}
    assert batch["crops"].shape == (4, 3, 12, 12, 3)
    seen = method.project(batch)
    assert seen["scores"].shape == (4, 5, 6)
    assert method.loss(seen, batch)["loss"].item() == pytest.approx(slow_loss(method, seen["scores"]), rel=1e-5)


def test_the_queue_is_shared_out_too_once_it_is_full_and_its_time_has_come() -> None:
    method = made(queue=8, queue_from=0.5)
    rows = []
    for step in range(2):
        batch = batch_of(4, seed=step)
        rows.append(method.project(batch)["rows"][:, :2].detach())
        one_step(method, batch)
    batch = batch_of(4, seed=9)
    seen = method.project(batch)
    past = method.scores(torch.cat(rows)).detach()
    alone, together = slow_loss(method, seen["scores"]), slow_loss(method, seen["scores"], past)
    assert alone != pytest.approx(together, rel=1e-3)
    assert method.loss(seen, batch)["loss"].item() == pytest.approx(alone, rel=1e-5)
    method.progress = 0.5
    assert method.loss(seen, batch)["loss"].item() == pytest.approx(together, rel=1e-4)
    method.seen.fill_(4)
    assert method.loss(seen, batch)["loss"].item() == pytest.approx(alone, rel=1e-5), "half of it is noise"


def test_only_on_step_end_moves_prototypes_to_length_1_and_the_queue() -> None:
    method, batch = made(queue=8), batch_of(4)
    seen = method.project(batch)
    before = copy.deepcopy(method.state_dict())
    method.loss(seen, batch)["loss"].backward()
    after = method.state_dict()
    assert [name for name in before if not torch.equal(after[name], before[name])] == []
    method.on_step_end({name: tensor.detach() for name, tensor in seen.items()}, batch)
    torch.testing.assert_close(method.scores.weight.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(method.project(batch)["scores"], seen["scores"])
    assert torch.equal(method.past.keys[:4], seen["rows"][:, :2].flatten(1))
    assert int(method.seen) == 4


def test_codes_carry_no_gradient_and_prototypes_wait() -> None:
    method, batch = made(freeze=0.25), batch_of(4)
    seen = method.project(batch)
    method.loss(seen, batch)["loss"].backward()
    shares = torch.stack([sinkhorn(seen["scores"][:, v], epsilon=0.05, iterations=3) for v in (0, 1)], dim=1)
    again = made(freeze=0.25)
    swapped_prediction(again.project(batch)["scores"], shares, temperature=0.1).backward()
    torch.testing.assert_close(method.scores.weight.grad, again.scores.weight.grad)
    first, last = method.groups()
    assert (first.start, last.start, [p.shape for p in last.parameters]) == (0.0, 0.25, [(6, 8)])


def test_chance_is_a_network_to_which_all_prototypes_are_alike() -> None:
    method, batch = made(), batch_of(6)
    even = {"scores": torch.zeros(6, 2, 6), "rows": torch.zeros(6, 2, 8)}
    terms = method.loss(even, batch)
    assert terms["loss"].item() == pytest.approx(method.chance(6)) == pytest.approx(log(6))
    assert terms["least"].item() == pytest.approx(log(6))
    sure = {**even, "scores": torch.eye(6)[:, None].repeat(1, 2, 1) * 20}
    terms = method.loss(sure, batch)
    assert (terms["loss"].item(), terms["least"].item()) == pytest.approx((method.floor(6), 0.0), abs=1e-6)
