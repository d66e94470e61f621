"""A picture in, what the encoder says of it out: vector, neighbours, class. Many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import orjson
import torch

from selfsight.browsing.batching import Batcher
from selfsight.browsing.collection import Collection, Side
from selfsight.browsing.decoding import Decoders
from selfsight.data.ranges import format_of
from selfsight.embedding.embed import lanes_for, vectors_of

__all__ = ["MOST_NEIGHBOURS", "WAITING", "Busy", "Encoders"]

WAITING, ROOM = 256, 512 << 20  # pictures, and their bytes, that may be on their way at once
MOST_NEIGHBOURS = 100
NAMED = 3  # classes
TOGETHER = 16  # pictures in a batch: more are no faster each, and would leave nothing for the lane that is next


class Busy(Exception):  # noqa: N818 - it is an answer
    """As many pictures are on their way as may be; ask again a little later."""


class Encoders:
    """The encoder of each side with its decoders. RunError at once when one is not there, or is another by now."""

    def __init__(self, collection: Collection, *, decoders: int = 2, waiting: int = WAITING) -> None:
        self.collection, self._most, self._now, self._bytes = collection, waiting, 0, 0.0
        self._lanes = [_Lane(side, decoders) for side in collection.sides]

    async def close(self) -> None:
        """End them, when nobody waits any more."""
        for lane in self._lanes:
            await lane.batcher.close()
            await asyncio.to_thread(lane.decoders.close)

    @contextmanager
    def place(self, size: float = 0) -> Iterator[None]:
        """For one picture of so many bytes, from before they are read. Busy when too much is on its way."""
        if self._now >= self._most or self._bytes + size > ROOM:
            raise Busy
        self._now, self._bytes = self._now + 1, self._bytes + size
        try:
            yield
        finally:
            self._now, self._bytes = self._now - 1, self._bytes - size

    async def ask(self, side: int, data: bytes, k: int) -> bytes:
        """JSON of embedding, the k nearest pictures and, where the run has a classifier, up to three classes.

        Undecodable when this is no picture.
        """
        lane = self._lanes[side]
        return await lane.batcher.ask((await lane.decoders.view(data), k))


class _Lane:
    def __init__(self, side: Side, decoders: int) -> None:
        self.side, self.encoder = side, side.index.encoder
        recipe = side.index.eye.run.recipe
        self.decoders = Decoders(format_of(recipe), recipe.least_side, int(side.index.facts["size"]), decoders)
        lanes, threads = lanes_for(self.encoder, WAITING), torch.get_num_threads()
        own = partial(torch.set_num_threads, threads // lanes)  # also what further threads of the server begin with
        self.batcher: Batcher[tuple[np.ndarray, int], bytes] = Batcher(self._answers, TOGETHER, lanes, own)

    def _answers(self, asked: Sequence[tuple[np.ndarray, int]]) -> list[bytes]:
        vectors = vectors_of(self.encoder, torch.from_numpy(np.stack([view for view, _ in asked])))
        most = max(k for _, k in asked)
        near = self.side.nearest(vectors, most) if most else [[] for _ in asked]
        answers: list[dict[str, Any]] = []
        for vector, found, (_, k) in zip(vectors, near, asked, strict=True):
            neighbours = [{"id": one, "score": round(score, 4)} for one, score in found[:k]]
            answers.append({"embedding": vector, "neighbours": neighbours})
        model = self.side.classifier
        if model is not None:
            for answer, chances in zip(answers, model.probabilities(vectors), strict=True):
                best = np.argsort(-chances, kind="stable")[:NAMED]
                answer["classes"] = [
                    {"class": model.classes[one], "confidence": round(float(chances[one]), 4)} for one in best
                ]
        return [orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY) for answer in answers]
