"""Strangers' pictures cost a child of bounded memory and time, never the server."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.browsing.decoding import Decoders, Undecodable
from selfsight.data.decode import contained
from selfsight.data.ranges import PixelFormat
from selfsight.errors import MissingError
from selfsight.views.render import whole


def png(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG")
    return written.getvalue()


PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    started = Decoders(PixelFormat(), None, 32, 1)
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


def test_a_child_that_dies_costs_nothing(decoders: Decoders) -> None:
    contained._end()  # those of other tests: a picture is tried by two children at most
    view(decoders, png(PICTURE))
    for child in contained._free:
        os.kill(child._process.pid, signal.SIGKILL)  # as a decoder would that crashes
    assert view(decoders, png(PICTURE)).shape == (32, 32, 3)


def test_one_that_cannot_start_holds_up_no_later_picture(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    contained._end()
    with monkeypatch.context() as patched:
        patched.setattr(contained.subprocess, "Popen", refused)
        for _ in range(3):
            with pytest.raises(MissingError, match="are there too many processes"):
                view(decoders, png(PICTURE))
    assert view(decoders, png(PICTURE)).shape == (32, 32, 3)


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """As `selfsight.browse(...)` in one: children do not run it once more."""
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, base64, selfsight.browsing.decoding as decoding\n"
        "from selfsight.data.ranges import PixelFormat\n"
        f"picture = base64.b64decode({base64.b64encode(png(PICTURE))!r})\n"
        "decoders = decoding.Decoders(PixelFormat(), None, 32, 1)\n"
        "print(asyncio.run(decoders.view(picture)).shape)\n"
        "decoders.close()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("(32, 32, 3)\n", "")
