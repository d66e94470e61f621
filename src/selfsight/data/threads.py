"""Threads that work ahead: a bounded number of answers waits, however many are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(
    work: Callable[[Given], Made],
    given: Iterable[Given],
    threads: int,
    *,
    each: int = 1,
    start: Callable[[], None] | None = None,
) -> Iterator[Made]:
    """What `work` makes of each, in the order given; each thread begins with `start` and is `each` answers ahead."""
    with ThreadPoolExecutor(threads, initializer=start) as pool:
        ahead: deque[Future[Made]] = deque()
        for one in given:
            ahead.append(pool.submit(work, one))
            if len(ahead) > threads * each:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
