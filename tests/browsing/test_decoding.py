"""Strangers' pictures cost a child of bounded memory and time, never the server."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from selfsight.browsing import decoding
from selfsight.browsing.decoding import Decoders, Undecodable
from selfsight.data.decode import contained
from selfsight.data.ranges import PixelFormat
from selfsight.views.render import whole


def png(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG")
    return written.getvalue()


PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    started = Decoders(PixelFormat(), 32, 1)
    started.start()
    yield started
    started.close()


def view(decoders: Decoders, data: bytes) -> np.ndarray:
    return asyncio.run(decoders.view(data))


def bomb() -> bytes:
    """A PNG of a few kB that says it is 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_the_view_is_that_of_the_encoder(decoders: Decoders) -> None:
    np.testing.assert_array_equal(view(decoders, png(PICTURE)), whole(PICTURE, 32))
    grey = PICTURE[..., 0]
    np.testing.assert_array_equal(view(decoders, png(grey)), whole(np.repeat(grey[..., None], 3, 2), 32))


def test_what_is_no_picture_is_said_to_be_none(decoders: Decoders) -> None:
    with pytest.raises(Undecodable, match=r"not_an_image|empty"):
        view(decoders, b"<html>")
    with pytest.raises(Undecodable, match="too_many_pixels"):
        view(decoders, bomb())
    assert view(decoders, png(PICTURE)).shape == (32, 32, 3)  # by the same child


def test_a_child_that_dies_is_replaced(decoders: Decoders) -> None:
    os.kill(decoders._all[0]._process.pid, signal.SIGKILL)  # as a decoder would that crashes
    with pytest.raises(Undecodable, match="damaged"):
        view(decoders, png(PICTURE))
    assert view(decoders, png(PICTURE)).shape == (32, 32, 3)
    assert len(decoders._all) == 1


def test_a_child_that_hangs_is_replaced(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    view(decoders, png(PICTURE))  # it has started
    decoders._all[0]._patience = 0.3
    os.kill(decoders._all[0]._process.pid, signal.SIGSTOP)
    with pytest.raises(Undecodable, match="too long"):
        view(decoders, png(PICTURE))
    assert view(decoders, png(PICTURE)).shape == (32, 32, 3)


def test_a_child_has_no_more_memory_than_its_bound() -> None:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        contained.bound(decoding.LIMIT)
        try:
            bytearray(decoding.LIMIT + (1 << 28))
        except MemoryError:
            os.write(writing, b"refused")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 20) == b"refused"
