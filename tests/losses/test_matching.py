"""Matching: NNCLR's check value, a slow twin, and InfoNCE where the neighbours are the rows themselves."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path

import pytest
import torch

from selfsight.losses.matching import matching
from selfsight.losses.precision import unit
from selfsight.nn.queue import Queue

CHECK = json.loads((Path(__file__).parents[1] / "check_values.json").read_text())["nnclr"]


def test_check_values() -> None:
    inputs, expected = CHECK["inputs"], CHECK["expected"]
    z1, z2, p1, p2 = (unit(torch.tensor(inputs[name], dtype=torch.float64)) for name in ("z1", "z2", "p1", "p2"))
    queue = Queue(5, 4).double()
    queue.keys.copy_(torch.tensor(inputs["queue"], dtype=torch.float64))
    found = [queue.nearest(z) for z in (z1, z2)]
    assert [index.tolist() for index in found] == [expected["nn_index_view1"], expected["nn_index_view2"]]
    losses = [matching(queue.keys[i], p, temperature=inputs["T"]) for i, p in zip(found, (p2, p1), strict=True)]
    assert sum(losses).item() / 2 == pytest.approx(expected["loss"], rel=1e-9)


def test_slow_twin() -> None:
    rows, candidates = unit(torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    total = 0.0
    for number, row in enumerate(rows.tolist()):
        shares = [exp(sum(a * b for a, b in zip(row, other, strict=True)) / 0.2) for other in candidates.tolist()]
        total -= log(shares[number] / sum(shares)) / len(rows)
    assert matching(rows, candidates, temperature=0.2).item() == pytest.approx(total, rel=1e-12)
    part = matching(rows[2:4], candidates, temperature=0.2, offset=2)
    whole = [matching(rows[n : n + 1], candidates, temperature=0.2, offset=n) for n in (2, 3)]
    torch.testing.assert_close(part, sum(whole) / 2)


def test_a_queue_of_the_rows_themselves_is_info_nce() -> None:
    z, p = unit(torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1)))
    queue = Queue(6, 4)
    queue.enqueue(z)
    assert queue.nearest(z).tolist() == list(range(6))
    torch.testing.assert_close(
        matching(queue.keys[queue.nearest(z)], p, temperature=0.1), matching(z, p, temperature=0.1)
    )
