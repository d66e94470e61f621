"""Positions in, named tensors out: the same batches with any number of workers, ranks and restarts.

Workers are threads: decoding (Pillow) and rendering (OpenCV) release the interpreter lock, there is nothing to pickle,
no shared memory to run out of, and no process that could be left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import cv2
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from selfsight.data.order import Purpose, keyed
from selfsight.data.pictures import Pictures

AHEAD = 2  # batches prepared beyond one per worker
ROOM = 2**31  # bytes of batches that wait


def waiting(workers: int, size: float) -> int:
    """How many batches of `size` bytes are prepared ahead: some for each worker, as far as there is room."""
    return max(1, min(workers + AHEAD, int(ROOM // max(1.0, size))))


class View(Protocol):
    """What the loader asks of views: (picture, generator) -> named arrays."""

    def __call__(self, image: np.ndarray, generator: np.random.Generator, /) -> Mapping[str, np.ndarray]: ...


class Loader:
    """Batches of one data set's training rows.

    `rows` are the manifest's rows in data order: the sample index of everything else counts in them. With `pinned` a
    batch lies where a GPU fetches it while it computes.
    """

    def __init__(
        self,
        pictures: Pictures,
        rows: Int[np.ndarray, "N"],
        labels: Int[Tensor, "N"],
        views: View,
        *,
        seed: int,
        workers: int,
        pinned: bool = False,
    ) -> None:
        self.pictures, self.rows, self.labels, self.views, self.seed = pictures, rows, labels, views, seed
        self.index_of = {int(row): index for index, row in enumerate(rows)}
        self.workers, self.pinned = workers, pinned
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="loader") if workers else None
        cv2.setNumThreads(0)  # parallel over pictures, not inside one

    def batches(
        self, indices: Int[Tensor, "n"], first: int, batch: int, rank: int = 0, world: int = 1
    ) -> Iterator[dict[str, Tensor]]:
        """This rank's contiguous slice of each global batch of `batch`; `first` is the position of indices[0]."""
        share = batch // world
        starts = range(rank * share, len(indices), batch)
        slices = ((indices[start : start + share].numpy(), first + start) for start in starts)
        if self.pool is None:
            yield from (self.collate(*one) for one in slices)
            return
        prepared: deque[Future[dict[str, Tensor]]] = deque()
        most = 1
        try:
            for one in slices:
                prepared.append(self.pool.submit(self.collate, *one))
                if len(prepared) > most:
                    made = prepared.popleft().result()
                    most = waiting(self.workers, sum(tensor.nbytes for tensor in made.values()))
                    yield made
            while prepared:
                yield prepared.popleft().result()
        finally:
            for future in prepared:
                future.cancel()

    def collate(self, indices: Int[np.ndarray, "B"], first: int) -> dict[str, Tensor]:
        """Decode, draw, render and stack the samples at positions first, first + 1, ..."""
        samples, used = [], []
        self.pictures.ahead(self.rows[indices])
        for offset, index in enumerate(indices):
            picture, row = self.pictures.read(int(self.rows[index]), self.rows)
            used.append(self.index_of[row])
            samples.append(self.views(picture, keyed(self.seed, first + offset, Purpose.VIEWS)))
        batch = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
        batch["index"] = torch.tensor(used)
        batch["label"] = self.labels[batch["index"]]
        batch["position"] = torch.arange(first, first + len(indices))
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.pinned else batch

    def close(self) -> None:
        """Stop the threads; pending work is dropped."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
