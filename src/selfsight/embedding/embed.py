"""Samples in, vectors out: the evaluation view of each one through a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsight.nn.embedder import Embedder
from selfsight.views.render import whole

THREADS = 2


class Readable(Protocol):
    """What can give a picture by its row."""

    def read(self, row: int, among: np.ndarray | None = None) -> tuple[np.ndarray, int]: ...
    def ahead(self, rows: np.ndarray) -> None: ...


def best_device() -> torch.device:
    """A GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def moved(encoder: Embedder, device: torch.device | None = None) -> Iterator[Embedder]:
    """The encoder on a device (by default the best there is), and back where it was. On a GPU already, it stays."""
    home, there = encoder.device, best_device() if device is None else device
    if home == there or (device is None and home.type != "cpu"):
        yield encoder
        return
    try:
        with torch.inference_mode(False):  # tensors made in inference mode could not be trained afterwards
            encoder.to(there)
        yield encoder
    finally:
        with torch.inference_mode(False):
            encoder.to(home)


def whole_views(
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    size: int,
    batch: int,
    view: Callable[[np.ndarray, int], np.ndarray] = whole,
) -> Iterator[tuple[Tensor, Int[np.ndarray, "B"]]]:
    """Evaluation views (B, ...) and the rows they show, in order, a batch prepared ahead; `view` is the encoder's.

    A row whose file cannot be read is left out: a stand-in would carry the wrong name.
    """

    def prepared(chunk: np.ndarray) -> tuple[Tensor, np.ndarray]:
        pictures.ahead(chunk)
        read = [(*pictures.read(int(row)), int(row)) for row in chunk]
        own = [(view(picture, size), row) for picture, used, row in read if used == row]
        kept = np.array([row for _, row in own], np.int64)
        return torch.from_numpy(np.stack([one for one, _ in own]) if own else np.zeros(0, np.uint8)), kept

    chunks = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    with ThreadPoolExecutor(THREADS) as pool:
        ahead = [pool.submit(prepared, chunk) for chunk in chunks[:THREADS]]
        for number in range(len(chunks)):
            ready = ahead.pop(0).result()
            if number + THREADS < len(chunks):
                ahead.append(pool.submit(prepared, chunks[number + THREADS]))
            if len(ready[1]):
                yield ready


def batches(
    encoder: Embedder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    batch: int = 256,
    patches: bool = False,
    device: torch.device | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Float[np.ndarray, "B ..."], Int[np.ndarray, "B"]]]:
    """Embeddings (B, D), float32, and the rows they belong to, batch by batch; with `patches` (B, L, D).

    `device` is where to compute (see `moved`); `tell` hears how many pictures have a vector.
    """
    done = 0
    with moved(encoder, device):
        for views, shown in whole_views(pictures, rows, size, batch, encoder.view):
            yield vectors_of(encoder, views, patches=patches), shown
            done += len(shown)
            tell(done)


def embed(
    encoder: Embedder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    batch: int = 256,
    patches: bool = False,
    device: torch.device | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, "M ..."], Int[np.ndarray, "M"]]:
    """All of `batches` at once, in memory: embeddings and the rows they belong to, unreadable ones left out."""
    vectors, kept, count = np.zeros((0, encoder.width), np.float32), np.zeros(len(rows), np.int64), 0
    options = {"size": size, "batch": batch}
    for part, shown in batches(encoder, pictures, rows, patches=patches, device=device, tell=tell, **options):
        if not count:
            vectors = np.empty((len(rows), *part.shape[1:]), np.float32)
        vectors[count : count + len(part)], kept[count : count + len(part)] = part, shown
        count += len(part)
    return vectors[:count], kept[:count]


@torch.inference_mode()
def vectors_of(encoder: Embedder, views: Tensor, *, patches: bool = False) -> Float[np.ndarray, "N ..."]:
    """Embeddings of views (N, ...) that are in memory; the encoder's mode is left as found."""
    training = [part for part in encoder.modules() if part.training]
    encoder.eval()
    views = views.to(encoder.device)
    found = encoder.patches(views) if patches else encoder(views)
    for part in training:
        part.training = True
    vectors: np.ndarray = found.float().cpu().numpy()
    return vectors
