"""Pictures that came over the network, decoded in processes of their own (see `data.decode.contained`)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from selfsight.data.decode import Refused, opened
from selfsight.data.ranges import PixelFormat, conform
from selfsight.errors import DataError
from selfsight.views.render import whole

__all__ = ["Decoders", "Undecodable"]


class Undecodable(Exception):  # noqa: N818 - it is an answer
    """The bytes are no picture that can be used; the text says why and holds no name."""


class Decoders:
    """A few threads, each with one picture at a time. `close` after use."""

    def __init__(self, form: PixelFormat, least: int | None, size: int, count: int) -> None:
        self._form, self._least, self._size = form, least, size
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")

    async def view(self, data: bytes) -> np.ndarray:
        """The evaluation view (h, w, C) of the picture in these bytes. Undecodable when there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._view, data)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _view(self, data: bytes) -> np.ndarray:
        try:
            return whole(conform(opened(data, self._least), self._form), self._size)
        except Refused as refused:
            raise Undecodable(refused.reason) from refused
        except DataError as error:
            raise Undecodable(str(error)) from error
        except MemoryError as error:
            raise Undecodable("it needs too much memory") from error
