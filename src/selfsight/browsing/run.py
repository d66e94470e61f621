"""Start the server, say where it is, and end it in good order."""

from __future__ import annotations

import asyncio
import errno
import secrets
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from selfsight import heap
from selfsight.browsing.guard import loopback
from selfsight.browsing.server import Server
from selfsight.errors import RunError

__all__ = ["PORT", "bound", "config", "serve"]

PORT = 8899
TRIES = 50  # ports that are tried, one after the other
PATIENCE = 10.0  # seconds; a request whose head takes twice as long does not come
GRACE = 5  # seconds that requests have to end


def serve(server: Server, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `tell` hears the address, and which port is used in place of a busy one."""
    token = "" if loopback(host) else secrets.token_urlsafe(24)
    listening = bound(host, port)
    found = int(listening.getsockname()[1])
    if port not in (0, found):
        tell(f"Port {port} is in use; {found} is free.")
    tell(f"{len(server.collection):,} pictures: {address(host, found, token)} (Ctrl-C ends it)")
    before = {one: signal.signal(one, lambda number, frame: None) for one in (signal.SIGINT, signal.SIGTERM)}
    try:  # uvicorn ends in good order and then raises the signal once more: here that is a wish, and no fault
        with heap.kept():
            uvicorn.Server(config(server.app(host, token))).run(sockets=[listening])
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def config(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves it: quietly, and requests that are under way may end."""
    return uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE,
    )


class Impatient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    """Hangs up on whoever says nothing, or begins a request and does not come to its end."""

    _waited: object = ()  # the request that was the last one when it was looked before

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Somebody calls."""
        super().connection_made(transport)
        self.loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._waited:
            self.transport.close()
            return
        self._waited = self.cycle if idle else ()
        self.loop.call_later(PATIENCE, self._look)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at the port (0: any), or at the next one that is free. RunError when none is."""
    if not 0 <= port < 65536:
        raise RunError(f"--port {port} cannot be: it is a whole number below 65536, such as {PORT}")
    for candidate in range(port, min(port + TRIES, 65536)) if port else [0]:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(512)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise RunError(f"--host {host} with --port {candidate} cannot be used ({error.strerror})") from error
        else:
            return listening
    raise RunError(f"no port from {port} to {port + TRIES - 1} is free; choose another with --port")


def address(host: str, port: int, token: str) -> str:
    """What to open; where all of this machine's addresses are listened at, by its name."""
    host = socket.gethostname() if host in ("", "0.0.0.0", "::") else host
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{f'?token={token}' if token else ''}"
