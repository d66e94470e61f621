"""A finished run of a few steps on pictures with awkward names, its index, and a server of it on a real port."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from conftest import write_pictures

import selfsight
from selfsight.browsing.collection import Collection, gather
from selfsight.browsing.encoding import Encoders
from selfsight.browsing.labels import Labels
from selfsight.browsing.payloads import Payloads
from selfsight.browsing.run import bound, config
from selfsight.browsing.server import Server
from selfsight.searching.index import Index

NASTY = (
    "<img src=x onerror=document.title='run'>.png",
    "two\nlines.png",
    'quote" and, comma.png',
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.evil.png",
    "=1+1.png",
)
TINY = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1, "quiet": True}


@pytest.fixture(scope="session")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on 64 pictures, five of them with awkward names, with its index and a classifier."""
    home = tmp_path_factory.mktemp("browse")
    photos = write_pictures(home / "photos")
    for number, name in enumerate(NASTY):
        (photos / "china" / f"{number:03d}.png").rename(photos / "china" / name)
    shutil.copy(photos / "flower" / "031.png", photos / "flower" / "030.png")  # a duplicate
    selfsight.train(str(photos), method="simclr", length="2steps", out=home / "run", **TINY)
    selfsight.classify(home / "run", str(photos / "flower"), out=home / "named.csv")  # leaves a classifier in the run
    Index.open(home / "run")
    return home / "run"


@pytest.fixture
def collection(browsed: Path) -> Collection:
    return gather([Index.open(browsed)])


def server_of(collection: Collection, folder: Path, **options: int) -> Server:
    """A server whose labels.csv is in a folder of its own."""
    return Server(Payloads(collection, Labels(collection, folder / "labels.csv")), Encoders(collection, **options))


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    port: int
    server: Server

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, raw: bytes, *, patience: float = 10.0) -> bytes:
        """What comes back for raw bytes, until the server closes or has said it all."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            connection.sendall(raw)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except (TimeoutError, ConnectionResetError):
                pass
            return b"".join(parts)


@pytest.fixture(scope="session")
def running(browsed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server of the run."""
    with serving(server_of(gather([Index.open(browsed)]), tmp_path_factory.mktemp("labels"))) as started:
        yield started


@contextmanager
def serving(server: Server) -> Iterator[Running]:
    """A server on a free port, in a thread."""
    listening = bound("127.0.0.1", 0)
    engine = uvicorn.Server(config(server.app()))
    thread = threading.Thread(target=engine.run, kwargs={"sockets": [listening]})
    thread.start()
    while not engine.started:
        time.sleep(0.02)
    yield Running(listening.getsockname()[1], server)
    engine.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive()
