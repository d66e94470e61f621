"""The memory: whose row is whose, a picture twice in a batch, and all of it state."""

from __future__ import annotations

import torch

from selfsight.nn.memory import Memory


def test_rows_go_to_their_pictures() -> None:
    memory, views = Memory(2, 10, 3), torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    memory.write(torch.tensor([7, 0, 3, 9]), views)
    assert torch.equal(memory.rows[0, [7, 0, 3, 9]], views[:, 0])
    assert torch.equal(memory.rows[1, [7, 0, 3, 9]], views[:, 1])
    assert memory.rows[:, [1, 2, 4, 5, 6, 8]].abs().sum() == 0
    assert set(memory.state_dict()) == {"rows"}


def test_of_a_picture_that_is_there_twice_the_last_counts() -> None:
    """Balanced orders and stand-ins for broken files repeat pictures; writing both at once would be a race."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        index = torch.randint(0, 6, (32,), generator=generator)
        views = torch.randn(32, 2, 3, generator=generator)
        memory, twin = Memory(2, 6, 3), torch.zeros(2, 6, 3)
        memory.write(index, views)
        for row, view in zip(index, views, strict=True):
            twin[:, row] = view
        assert torch.equal(memory.rows, twin)
