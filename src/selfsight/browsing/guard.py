"""Who may ask, and what every answer says to browsers: in front of everything else.

A page from elsewhere must not reach this server through its reader's browser: the Host must be a name of this machine
(against DNS rebinding), a change must not come from another site, and nothing is shared with other origins. Where the
server can be reached from other machines, a token is asked for as well.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "TooLarge", "body", "length", "loopback", "refused"]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
LOCAL = {"localhost", "127.0.0.1", "::1"}


class TooLarge(Exception):  # noqa: N818 - it is an answer
    """More came than is taken: the one argument, bytes."""


async def body(request: Request, limit: int) -> bytes:
    """What was sent, read as it comes; TooLarge as soon as it is more than `limit` bytes, or says it will be."""
    if "content-length" in request.headers and length(request) > limit:
        raise TooLarge(limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(limit)
        parts.append(part)
    return b"".join(parts)


def length(request: Request) -> float:
    """How many bytes will come, as it is said; endless where it is not, or not in a few digits."""
    said = request.headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 16 else math.inf


def loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    return host in LOCAL


def refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal in one sentence; nothing that was sent is in it, and nothing of this machine."""
    return JSONResponse({"error": sentence}, status, headers)


class Guard:
    """The application behind its checks; `host` is where it is bound, `token` what others must know ("": nobody)."""

    def __init__(self, app: ASGIApp, host: str, token: str) -> None:
        self.app, self.token = app, token
        self._names = LOCAL if loopback(host) else {*LOCAL, host.lower(), *own_names()}
        self._addresses = not loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._refusal(scope)
        await (answer or self.app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """What to answer in place of the application; None where the request may pass."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._own(hosts[0]):
            other = "its IP address" if self._addresses else "the address that it printed"
            return refused(421, f"This server does not answer to that name; use {other}.")
        if scope["method"] not in ("GET", "HEAD") and self._foreign(headers, hosts[0]):
            return refused(403, "A page of another site may not change anything here.")
        return self._stranger(scope, headers) if self.token else None

    def _own(self, host: str) -> bool:
        name = hostname(host)
        return name in self._names or (self._addresses and is_address(name))

    def _foreign(self, headers: Headers, host: str) -> bool:
        """Whether another site's page asks: browsers say so; by the Origin only where they do not (plain HTTP)."""
        if (site := headers.get("sec-fetch-site")) is not None:
            return site not in ("same-origin", "none")
        origin = headers.get("origin")
        return origin is not None and place(origin) != host.lower()

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """Whether the token is missing. In the address it becomes a cookie, so that it stays out of the history."""
        own = f"selfsight-{scope['server'][1]}"  # browsers send a cookie to every port
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and self._known(bearer)) or self._known(cookie(headers, own)):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._known(asked):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(own, self.token, httponly=True, samesite="lax")  # the link may be in a page
            return answer
        return refused(401, "A token is needed; open the address that was printed when the server started.")

    def _known(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())


def hostname(host: str) -> str:
    """The name in a Host header, without its port; "" where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return "" if parts.username is not None or parts.path else (parts.hostname or "")
    except ValueError:
        return ""


def place(origin: str) -> str:
    """Host and port of an Origin header; "" where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Whether a name is an IP address: such a Host cannot be somebody else's name for this machine."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def own_names() -> set[str]:
    """What this machine calls itself."""
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


def cookie(headers: Headers, name: str) -> str:
    """What a cookie holds; "" for none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
