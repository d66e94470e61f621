"""Pictures in, vectors out: the evaluation view of each picture through a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsight.nn.encoder import Encoder
from selfsight.views.render import whole

THREADS = 2


class Readable(Protocol):
    """What can give a picture by its row."""

    def read(self, row: int, among: np.ndarray | None = None) -> tuple[np.ndarray, int]: ...


def whole_views(
    pictures: Readable, rows: Int[np.ndarray, "N"], size: int, batch: int
) -> Iterator[tuple[Tensor, Int[np.ndarray, "B"]]]:
    """Evaluation views (B, size, size, C) and the rows they show, in order, a batch prepared ahead.

    A row whose file cannot be read is left out: a stand-in would carry the wrong name.
    """

    def prepared(chunk: np.ndarray) -> tuple[Tensor, np.ndarray]:
        read = [(*pictures.read(int(row)), int(row)) for row in chunk]
        own = [(whole(picture, size), row) for picture, used, row in read if used == row]
        kept = np.array([row for _, row in own], np.int64)
        return torch.from_numpy(np.stack([view for view, _ in own]) if own else np.zeros(0, np.uint8)), kept

    chunks = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    with ThreadPoolExecutor(THREADS) as pool:
        ahead = [pool.submit(prepared, chunk) for chunk in chunks[:THREADS]]
        for number in range(len(chunks)):
            ready = ahead.pop(0).result()
            if number + THREADS < len(chunks):
                ahead.append(pool.submit(prepared, chunks[number + THREADS]))
            if len(ready[1]):
                yield ready


@torch.inference_mode()
def embed(
    encoder: Encoder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    batch: int = 256,
    patches: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, "N ..."], Int[np.ndarray, "N"]]:
    """Embeddings (N, D), float32, and the rows they belong to; with `patches` one vector per position, (N, L, D)."""
    vectors: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for views, shown in whole_views(pictures, rows, size, batch):
        vectors.append(vectors_of(encoder, views, patches=patches))
        kept.append(shown)
        tell(sum(map(len, kept)))
    if not kept:
        return np.zeros((0, encoder.width), np.float32), np.zeros(0, np.int64)
    return np.concatenate(vectors), np.concatenate(kept)


@torch.inference_mode()
def vectors_of(encoder: Encoder, views: Tensor, *, patches: bool = False) -> Float[np.ndarray, "N ..."]:
    """Embeddings of views (N, h, w, C) that are in memory; the encoder's mode is left as found."""
    training = [part for part in encoder.modules() if part.training]
    encoder.eval()
    views = views.to(encoder.scale.device)
    found = encoder.patches(views) if patches else encoder(views)
    for part in training:
        part.training = True
    vectors: np.ndarray = found.float().cpu().numpy()
    return vectors
