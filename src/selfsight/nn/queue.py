"""The first-in first-out store of past keys (He et al. 2020, section 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from selfsight.errors import RecipeError

__all__ = ["Queue", "affordable", "check_room"]

SCORES = 2**21  # of rows with keys that are held at once: 8 MiB


class Queue(nn.Module):
    """`keys` (K, P) float32 unit rows, oldest at `pointer`. All of it is buffers, so a checkpoint holds it.

    It starts with Gaussian directions, so that there is something to tell apart from the first step on.
    """

    keys: Float[Tensor, "K P"]
    pointer: Tensor  # () int64

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(count, width), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "B P"]) -> None:
        """Overwrite the oldest B rows; at the end of the store the rest goes to its beginning.

        Raises RecipeError when the batch is larger than the store: some of its keys would be lost at once.
        """
        size, count = len(self.keys), len(keys)
        check_room(size, count)
        start = int(self.pointer)
        fits = min(count, size - start)
        self.keys[start : start + fits] = keys[:fits].to(self.keys.dtype)
        self.keys[: count - fits] = keys[fits:].to(self.keys.dtype)
        self.pointer.fill_((start + count) % size)

    def nearest(self, rows: Float[Tensor, "B P"]) -> Int[Tensor, "B"]:
        """Which key is most alike each unit row, without gradient: a strip of rows at a time."""
        strips = torch.split(rows.detach().to(self.keys.dtype), max(1, SCORES // len(self.keys)))
        return torch.cat([(strip @ self.keys.T).argmax(dim=1) for strip in strips])


def check_room(size: int | None, batch: int) -> None:
    """RecipeError where there is a queue and one batch overflows it."""
    if size and batch > size:
        raise RecipeError(f"{batch} keys do not fit into a queue of {size}: use a smaller batch or a longer queue")


def affordable(
    published: int, count: int, batch: int, name: str, wanted: int | None = None, each: int = 1
) -> tuple[int, str]:
    """How many keys to keep (the setting `name`), with the reason: the published number, or 8 batches where that is
    more, or the batches that fit into half of the pictures.

    A longer queue would hold too many pictures' own old keys as negatives. Below 4 batches it turns over too fast:
    RecipeError, for a `wanted` number too; below 8, which are better, the reason says so. A picture has `each` keys.
    """
    keys, room = each * batch, each * (count // 2)
    usual = max(published, 8 * keys)
    negatives = min(usual, room // keys * keys) if wanted is None else wanted
    if negatives < 4 * keys:
        most = (room if wanted is None else wanted) // 4 // each
        remedy = f"use a batch of at most {most}" if most > 1 else "add pictures or choose a method without a queue"
        remedy += f", or --set {name}={4 * keys}" if wanted is not None else ""
        shown = f"{batch} pictures in {each} views" if each > 1 else str(batch)
        raise RecipeError(
            f"{negatives} keys for a batch of {shown} are fewer than the 4 batches that a queue needs "
            f"(it may hold half of the {count} training pictures); {remedy}"
        )
    if wanted is not None:
        return wanted, "as asked"
    why = f"published: {published}" if usual == published else f"8 batches; published: {published}"
    why = why if negatives == usual else f"at most half of {count} pictures"
    return negatives, why + ("; 8 batches would be better, with a smaller --batch" if negatives < 8 * keys else "")
