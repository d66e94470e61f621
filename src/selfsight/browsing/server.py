"""The server: the page, its data, and an API for other programs. Pictures are known by number, never by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from selfsight.browsing.decoding import Undecodable
from selfsight.browsing.encoding import MOST_NEIGHBOURS, Busy, Encoders
from selfsight.browsing.guard import Guard, TooLarge, body, length, refused
from selfsight.browsing.late import apart
from selfsight.browsing.openapi import document
from selfsight.browsing.payloads import NEIGHBOURS, Payloads
from selfsight.browsing.pictures import LARGE, Pictures, missing
from selfsight.errors import AddressError, DataError, DiskError, ImageError, MissingError

__all__ = ["PAGE", "Server"]

UPLOAD, LIST = 32 << 20, 8 << 20  # bytes of a picture and of a list of numbers
PATIENCE = 30.0  # seconds that a body may take
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGE = {
    file.name: file.read_bytes() for file in files("selfsight.browsing").joinpath("page").iterdir() if file.is_file()
}
FOREVER = {"cache-control": "private, max-age=31536000, immutable"}  # the address has the collection's version


class Server:
    """What the addresses answer."""

    def __init__(self, payloads: Payloads, encoders: Encoders | None) -> None:
        self.payloads, self.encoders = payloads, encoders
        self.collection = payloads.collection
        self.pictures = Pictures(self.collection.paths)

    def app(self, host: str = "127.0.0.1", token: str = "") -> ASGIApp:
        """The ASGI application, guarded."""
        routes = [
            Route("/", self.page),
            Route("/page/{name:str}", self.page),
            Route("/data/{key:str}", self.data),
            Route("/thumbnails/{number}", self.thumbnail),
            Route("/pictures/{number}", self.picture),
            Route("/health", self.health),
            Route("/openapi.json", self.openapi),
            Route("/api/pictures/{number}", self.facts),
            Route("/api/pictures/{number}/neighbours", self.neighbours),
            Route("/api/encode", self.encode, methods=["POST"]),
            Route("/api/labels", self.label, methods=["POST"]),
            Route("/api/labels", self.labels),
        ]
        handlers: dict[Any, Any] = {
            HTTPException: _failed,
            TooLarge: _too_large,
            ClientDisconnect: _gone,
            Exception: _fault,
        }
        handlers |= dict.fromkeys((DataError, DiskError, MissingError), _said)
        return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=self._life), host, token)

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        yield
        if self.encoders is not None:
            await self.encoders.close()

    async def page(self, request: Request) -> Response:
        """The page and its parts, all of which came with Selfsight."""
        name = request.path_params.get("name", "index.html")
        if name not in PAGE:
            raise HTTPException(404)
        kind = TYPES[name.rpartition(".")[2]]
        return Response(PAGE[name], media_type=kind, headers={"cache-control": "no-cache"})

    async def data(self, request: Request) -> Response:
        """What the page asks for, see `payloads`."""
        read = partial(self.payloads.read, request.path_params["key"])
        found = await asyncio.wrap_future(apart(read))  # it may take minutes, and others must not wait for it
        if found is None:
            raise HTTPException(404)
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream")
        return JSONResponse(found)

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG."""
        return await _drawn(self.pictures.small, self._number(request))

    async def picture(self, request: Request) -> Response:
        """A larger JPEG."""
        return await _drawn(self.pictures.made, self._number(request), LARGE)

    async def health(self, request: Request) -> Response:
        """That it is well."""
        return JSONResponse({"status": "ok", "pictures": len(self.collection), "encoder": self.encoders is not None})

    async def openapi(self, request: Request) -> Response:
        """This API, described."""
        return JSONResponse(document(len(self.collection.sides)))

    async def facts(self, request: Request) -> Response:
        """What is known of a picture."""
        number = self._number(request)
        told = {"id": number, "name": self.collection.names[number], "label": self.payloads.labels.given[number]}
        return JSONResponse({**told, "split": self.collection.splits[number]})

    async def neighbours(self, request: Request) -> Response:
        """The pictures nearest to a picture."""
        number, side, k = self._number(request), self._side(request), _count(request, "k", NEIGHBOURS, MOST_NEIGHBOURS)
        [found] = await run_in_threadpool(self.collection.sides[side].neighbours, np.array([number]), k)
        return JSONResponse([{"id": one, "score": round(score, 4)} for one, score in found])

    async def encode(self, request: Request) -> Response:
        """The vector, the neighbours and the class of a picture that is sent."""
        if self.encoders is None:
            return refused(409, "The encoder of these vectors is not at hand; start the server with its run.")
        side, k = self._side(request), _count(request, "k", NEIGHBOURS, MOST_NEIGHBOURS)
        try:
            with self.encoders.place(min(length(request), UPLOAD)):
                async with asyncio.timeout(PATIENCE):
                    sent = await body(request, UPLOAD)
                return Response(await self.encoders.ask(side, sent, k), media_type="application/json")
        except TimeoutError:
            return refused(408, "The picture took too long to come.")
        except Undecodable as error:
            return refused(415, f"That is no picture that can be read: {error}.")
        except Busy:
            return refused(429, "Too many pictures are waiting; ask again in a second.", {"retry-after": "1"})

    async def label(self, request: Request) -> Response:
        """Give pictures a label."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return refused(415, "Send JSON, with that content type.")
        try:
            asked = json.loads(await asyncio.wait_for(body(request, LIST), PATIENCE))
            numbers, label = asked["ids"], asked["label"]
            if not isinstance(label, str) or not all(type(one) is int and self._holds(one) for one in numbers):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError, TimeoutError):
            return refused(400, 'Send {"ids": [numbers of pictures], "label": "text, or nothing for none"}.')
        count = await run_in_threadpool(self.payloads.labels.give, numbers, label)
        return JSONResponse({"labelled": count, "file": self.payloads.labels.file.name})

    async def labels(self, request: Request) -> Response:
        """The label of every picture."""
        return Response(await run_in_threadpool(self.payloads.labels.told), media_type="text/csv")

    def _holds(self, number: int) -> bool:
        return 0 <= number < len(self.collection)

    def _number(self, request: Request) -> int:
        number = _whole(request.path_params["number"])
        if number is None or not self._holds(number):
            raise HTTPException(404)
        return number

    def _side(self, request: Request) -> int:
        return _count(request, "side", 0, len(self.collection.sides) - 1)


def _count(request: Request, name: str, default: int, most: int) -> int:
    number = _whole(request.query_params.get(name, str(default)))
    if number is None or number > most:
        raise HTTPException(400, f"{name} is a whole number from 0 to {most}.")
    return number


def _whole(text: str) -> int | None:
    """The number that a few digits say; None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


async def _drawn(make: Callable[..., bytes], *asked: int) -> Response:
    """A JPEG; one that is not there, or no picture, has a stand-in, which browsers do not keep: it may come back."""
    try:
        return Response(await run_in_threadpool(make, *asked), media_type="image/jpeg", headers=FOREVER)
    except (AddressError, ImageError):
        return Response(missing(), media_type="image/jpeg")


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {404: "There is nothing at this address.", 405: "That is not done at this address."}
    return refused(error.status_code, sentences.get(error.status_code, error.detail), dict(error.headers or {}))


async def _too_large(request: Request, error: Exception) -> Response:
    return refused(413, f"That is too large: at most {error.args[0] >> 20} MiB are taken.", {"connection": "close"})


async def _gone(request: Request, error: Exception) -> Response:
    return refused(400, "The body did not come.")


async def _said(request: Request, error: Exception) -> Response:
    return refused(400 if isinstance(error, DataError) else 500, str(error))


async def _fault(request: Request, error: Exception) -> Response:
    return refused(500, "That failed; the terminal says more.")
