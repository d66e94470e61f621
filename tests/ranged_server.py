"""A real HTTP server of a folder that answers ranged requests, counts them, and fails as it is told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """`asked` lists (path, first byte, last byte); as long as `failing` is above 0 a request costs one and fails."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked, self.failing, self.way = folder, list[tuple[str, int, int]](), 0, "503"
        self.over = threading.Event()  # for which a request waits that is answered too late

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[tuple[str, int, int]]:
        """Requests for parts of shards."""
        return [one for one in self.asked if one[0].endswith(".tar") and one[2] >= 0]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, *, body: bool) -> None:
        server, file = self.server, self.server.folder / self.path.lstrip("/")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2])) if asked else (0, -1)
        server.asked.append((self.path, first, last))
        if server.failing > 0:
            server.failing -= 1
            if server.way == "drop":
                self.close_connection = True
                self.connection.close()
                return
            if server.way == "slow":
                server.over.wait(60)
                self.close_connection = True
                return
            self.head(503, 0)
            return
        if not file.is_file():
            self.head(404, 0)
            return
        data = file.read_bytes()
        part = data[first : last + 1] if asked else data
        self.head(416 if asked and first >= len(data) else 206 if asked else 200, len(part))
        if body:
            self.wfile.write(part)

    def head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve until the block ends."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
