"""The API for other programs, in OpenAPI's words."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

__all__ = ["document"]

Schema = dict[str, Any]


def document(sides: int = 1) -> Schema:
    """The OpenAPI 3.1 description of what `server` answers about so many runs."""
    number = _parameter("number", "path", "The number of a picture, from 0.")
    side = _parameter("side", "query", "Which run, from 0, where two are served.", default=0, maximum=sides - 1)
    k = _parameter("k", "query", "How many neighbours.", default=12, maximum=100)
    listed = "A table: id, name, label and, where it is known, split of every picture"
    paths = {
        "/health": {"get": _does("That the server is well", {"status": _TEXT, "pictures": _WHOLE, "encoder": _YES})},
        "/api/pictures/{number}": {"get": _does("What is known of a picture", _PICTURE, [number])},
        "/api/pictures/{number}/neighbours": {
            "get": _does("The pictures nearest to a picture, best first", _NEIGHBOURS, [number, side, k])
        },
        "/api/encode": {
            "post": {
                **_does("Vector, neighbours and class of a picture", _ENCODED, [side, k], _UNREAD),
                "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _BYTES}}},
            }
        },
        "/api/labels": {
            "get": _answers(listed, "text/csv", _TEXT, errors=_DAMAGED),
            "post": {
                **_does(
                    'Give pictures a label; "" takes it away', {"labelled": _WHOLE, "file": _TEXT}, errors=_UNLABELLED
                ),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _object({"ids": _list(_WHOLE), "label": _TEXT})}},
                },
            },
        },
        "/thumbnails/{number}": {"get": _answers("A small picture", "image/jpeg", _BYTES, [number])},
        "/pictures/{number}": {"get": _answers("A larger picture", "image/jpeg", _BYTES, [number])},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Selfsight", "version": version("selfsight"), "summary": "An image encoder and its index."},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],  # where the server is bound to this machine only, there is no token
    }


_EVERY = {"401": "A token is needed.", "421": "The Host is no name of this machine."}
_GIVEN = {"path": {"404": "There is no such picture."}, "query": {"400": "A number is not within its bounds."}}
_CHANGES = {"403": "A page of another site asks.", "413": "The body is too large."}
_UNREAD = {
    **_CHANGES,
    "400": "A number is not within its bounds, or the body did not come.",
    "408": "The body took too long.",
    "409": "The encoder is not at hand.",
    "415": "The body is no picture that can be read.",
    "429": "Too many pictures are waiting; Retry-After says when to come back.",
}
_DAMAGED = {"400": "labels.csv cannot be read any more."}
_UNLABELLED = {
    **_CHANGES,
    "400": "That is no list of pictures and a label, or labels.csv cannot be read any more.",
    "415": "The body is no JSON.",
    "500": "labels.csv cannot be written.",
}
_WHOLE, _NUMBER, _YES = {"type": "integer", "minimum": 0}, {"type": "number"}, {"type": "boolean"}
_TEXT, _MAYBE = {"type": "string"}, {"type": ["string", "null"]}
_BYTES = {"type": "string", "format": "binary"}
_PICTURE = {"id": _WHOLE, "name": _TEXT, "label": _MAYBE, "split": _MAYBE}


def _object(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_NEIGHBOURS = _list(_object({"id": _WHOLE, "score": _NUMBER}))
_CLASSES = _list(_object({"class": _TEXT, "confidence": _NUMBER}))
_ENCODED = _object({"embedding": _list(_NUMBER), "neighbours": _NEIGHBOURS, "classes": _CLASSES}, ("classes",))


def _parameter(name: str, where: str, description: str, **bounds: int) -> Schema:
    schema = {**_WHOLE, **bounds}
    return {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}


def _answers(
    summary: str,
    kind: str,
    schema: Schema,
    parameters: Sequence[Schema] = (),
    errors: dict[str, str] | None = None,
) -> Schema:
    found: Schema = {"200": {"description": summary, "content": {kind: {"schema": schema}}}}
    given = (_GIVEN[one["in"]] for one in parameters)
    told = {code: text for refusals in (_EVERY, *given, errors or {}) for code, text in refusals.items()}
    found |= {code: {"description": text, "content": _REFUSED} for code, text in told.items()}
    return {"summary": summary, "responses": found, **({"parameters": [*parameters]} if parameters else {})}


def _does(
    summary: str, schema: Schema, parameters: Sequence[Schema] = (), errors: dict[str, str] | None = None
) -> Schema:
    whole = schema if "type" in schema else _object(schema)
    return _answers(summary, "application/json", whole, parameters, errors)


_REFUSED = {"application/json": {"schema": _object({"error": _TEXT})}}
