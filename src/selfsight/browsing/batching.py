"""Pictures of many askers through the encoder together, and no more of them waiting than can be served soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Batcher"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batcher(Generic[Asked, Answer]):
    """`answer` takes a list and gives a list; while it works on one, the next fills up, at most `most` long.

    It works in several `lanes` at once, in threads that begin with `start`.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer]],
        most: int = 64,
        lanes: int = 1,
        start: Callable[[], None] | None = None,
    ) -> None:
        self._answer, self._most, self._lanes = answer, most, lanes
        self._waiting: asyncio.Queue[tuple[Asked, asyncio.Future[Answer]]] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="batch", initializer=start)
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, one: Asked) -> Answer:
        """The answer for one; what `answer` raises is raised for all of its batch."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run()) for _ in range(self._lanes)]
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        await self._waiting.put((one, future))
        return await future

    async def close(self) -> None:
        """End; nobody may be waiting any more."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._threads.shutdown(wait=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._most and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            asked = [one for one, _ in batch]
            try:
                answers = await loop.run_in_executor(self._threads, self._answer, asked)
            except Exception as error:  # noqa: BLE001 - it goes to those who asked
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # the asker may have gone
                    future.set_result(answer)
