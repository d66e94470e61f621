"""Samples in, vectors out: the evaluation view of each one through a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsight.data.threads import in_order
from selfsight.nn.embedder import Embedder
from selfsight.views.render import whole

THREADS = 2
LANE = 64  # pictures that a thread must have at once to be worth a batch of its own: weights are laid out for each


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
    chunks = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    for views, shown in in_order(partial(_read, pictures, size, view), chunks, THREADS):
        if len(shown):
            yield views, shown


def _read(
    pictures: Readable, size: int, view: Callable[[np.ndarray, int], np.ndarray], rows: Int[np.ndarray, "B"]
) -> tuple[Tensor, Int[np.ndarray, "B"]]:
    """The views of those rows that can be read, and these rows."""
    pictures.ahead(rows)
    read = [(*pictures.read(int(row)), int(row)) for row in rows]
    own = [(view(picture, size), row) for picture, used, row in read if used == row]
    kept = np.array([row for _, row in own], np.int64)
    return torch.from_numpy(np.stack([one for one, _ in own]) if own else np.zeros(0, np.uint8)), kept


def batches(
    encoder: Embedder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    batch: int = 256,
    patches: bool = False,
    plain: bool = False,
    device: torch.device | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Float[np.ndarray, "B ..."], Int[np.ndarray, "B"]]]:
    """Embeddings (B, D), float32, and the rows they belong to, batch by batch; with `patches` (B, L, D).

    They are whitened where the encoder has a whitening, unless `plain` ones are asked for.
    `device` is where to compute (see `moved`); `tell` hears how many pictures have a vector.
    """
    done, answer = 0, partial(vectors_of, encoder, patches=patches, plain=plain)
    with moved(encoder, device), frozen(encoder):
        if (lanes := lanes_for(encoder, batch)) > 1:
            found = _in_lanes(encoder, pictures, rows, lanes, answer, size=size, batch=batch // lanes)
        else:
            seen = whole_views(pictures, rows, size, batch, encoder.view)
            found = ((answer(views), shown) for views, shown in seen)
        for vectors, shown in found:
            yield vectors, shown
            done += len(shown)
            tell(done)


def lanes_for(encoder: Embedder, batch: int) -> int:
    """How many threads had better compute batches of their own, on so many pictures at once; one where a GPU does."""
    return max(1, min(torch.get_num_threads(), batch // LANE)) if encoder.device.type == "cpu" else 1


def _in_lanes(
    encoder: Embedder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    lanes: int,
    answer: Callable[[Tensor], Float[np.ndarray, "B ..."]],
    *,
    size: int,
    batch: int,
) -> Iterator[tuple[Float[np.ndarray, "B ..."], Int[np.ndarray, "B"]]]:
    """Several threads, each with batches of its own from the file to the vector, on its share of the cores.

    Where all cores work on one batch instead, each layer waits for the core that was disturbed, by reading for one.
    """
    before = torch.get_num_threads()

    def lane(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        views, shown = _read(pictures, size, encoder.view, chunk)
        return answer(views) if len(shown) else views.numpy(), shown

    chunks = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    try:
        made = in_order(lane, chunks, lanes, start=partial(torch.set_num_threads, before // lanes))
        yield from ((vectors, shown) for vectors, shown in made if len(shown))
    finally:
        torch.set_num_threads(before)  # what further threads begin with


@contextmanager
def frozen(encoder: Embedder) -> Iterator[None]:
    """In eval mode, whatever mode each part was in before."""
    training = [part for part in encoder.modules() if part.training]
    encoder.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def embed(
    encoder: Embedder,
    pictures: Readable,
    rows: Int[np.ndarray, "N"],
    *,
    size: int,
    batch: int = 256,
    patches: bool = False,
    plain: bool = False,
    device: torch.device | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, "M ..."], Int[np.ndarray, "M"]]:
    """All of `batches` at once, in memory: embeddings and the rows they belong to, unreadable ones left out."""
    vectors, kept, count = np.zeros((0, encoder.width), np.float32), np.zeros(len(rows), np.int64), 0
    for part, shown in batches(
        encoder, pictures, rows, size=size, batch=batch, patches=patches, plain=plain, device=device, tell=tell
    ):
        if not count:
            vectors = np.empty((len(rows), *part.shape[1:]), np.float32)
        vectors[count : count + len(part)], kept[count : count + len(part)] = part, shown
        count += len(part)
    return vectors[:count], kept[:count]


@torch.inference_mode()
def vectors_of(
    encoder: Embedder, views: Tensor, *, patches: bool = False, plain: bool = False
) -> Float[np.ndarray, "N ..."]:
    """Embeddings of views (N, ...) that are in memory; the encoder's mode is left as found."""
    with frozen(encoder):
        views = views.to(encoder.device)
        found = encoder.patches(views) if patches else encoder(views)
    vectors: np.ndarray = found.float().cpu().numpy()
    return vectors if encoder.whitening is None or patches or plain else encoder.whitening(vectors)
