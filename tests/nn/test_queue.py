"""The queue: check values, wrap-around against a deque, refusals, state."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
import torch

from selfsight.errors import RecipeError
from selfsight.nn import queue as store
from selfsight.nn.queue import Queue, affordable

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["moco_infonce"]


def test_check_values() -> None:
    update = CHECK["queue_update"]
    queue = Queue(6, 4)
    queue.keys.copy_(torch.tensor(CHECK["inputs"]["queue_D_by_K"]).T)
    queue.pointer.fill_(update["start_ptr"])
    queue.enqueue(torch.tensor(update["enqueue_columns_of"]))
    torch.testing.assert_close(queue.keys, torch.tensor(update["queue_after"]).T)
    assert int(queue.pointer) == update["ptr_after"]


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_wrap_around_keeps_the_newest(batch: int) -> None:
    queue, twin = Queue(7, 2), deque(maxlen=7)
    for step in range(12):
        keys = torch.arange(step * batch, (step + 1) * batch, dtype=torch.float32)[:, None].expand(-1, 2)
        queue.enqueue(keys)
        twin.extend(keys[:, 0].tolist())
        held = queue.keys[:, 0].tolist()
        oldest_first = held[int(queue.pointer) :] + held[: int(queue.pointer)]
        assert oldest_first[-len(twin) :] == list(twin)


def test_starts_with_unit_rows_in_buffers() -> None:
    queue = Queue(16, 8)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(16))
    assert set(queue.state_dict()) == {"keys", "pointer"}
    assert not list(queue.parameters())


def test_keeps_float32_and_no_graph() -> None:
    queue = Queue(4, 3)
    queue.enqueue(torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True))
    assert queue.keys.dtype == torch.float32
    assert not queue.keys.requires_grad


def test_a_batch_larger_than_the_queue_is_refused() -> None:
    with pytest.raises(RecipeError, match="5 keys do not fit into a queue of 4: use a smaller batch"):
        Queue(4, 3).enqueue(torch.zeros(5, 3))


@pytest.mark.parametrize(
    ("published", "count", "batch", "expected"),
    [
        (4096, 50_000, 128, 4096),
        (4096, 2000, 128, 896),
        (65536, 10_000, 256, 4864),
        (4096, 1024, 128, 512),
        (4096, 10**6, 4096, 32_768),
        (4096, 32_768, 4096, 16_384),
    ],
)
def test_as_long_as_half_of_the_pictures(published: int, count: int, batch: int, expected: int) -> None:
    negatives, reason = affordable(published, count, batch, "negatives")
    assert negatives == expected
    assert reason
    assert (negatives < 8 * batch) == reason.endswith("; 8 batches would be better, with a smaller --batch")


@pytest.mark.parametrize(("published", "count", "batch"), [(4096, 1000, 128), (65536, 100, 64)])
def test_too_short_a_queue_is_refused_with_a_batch_that_works(published: int, count: int, batch: int) -> None:
    with pytest.raises(RecipeError, match="use a batch of at most") as caught:
        affordable(published, count, batch, "negatives")
    assert affordable(published, count, int(str(caught.value).rsplit(" ", 1)[1]), "negatives")[0] > 0


def test_too_few_pictures_for_any_queue() -> None:
    with pytest.raises(RecipeError, match="choose a method without a queue"):
        affordable(4096, 8, 4, "negatives")


def test_a_wish_is_kept_or_refused() -> None:
    assert affordable(4096, 100, 8, "support", wanted=64)[0] == 64
    assert affordable(4096, 100, 8, "support", each=2)[0] == 96  # half of the pictures, two keys of each
    with pytest.raises(RecipeError, match=r"48 keys for a batch of 8 pictures in 2 views .*support=64"):
        affordable(4096, 100, 8, "support", wanted=48, each=2)
    with pytest.raises(RecipeError, match="use a batch of at most 5, or --set support=32"):
        affordable(4096, 100, 8, "support", wanted=20)


def test_the_nearest_keys_are_found_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, rows = Queue(16, 8), torch.randn(21, 8)
    whole = queue.nearest(rows)
    monkeypatch.setattr(store, "SCORES", 70)
    assert queue.nearest(rows).tolist() == whole.tolist()
