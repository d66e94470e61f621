"""The API for other programs, in OpenAPI's words."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["document"]

Schema = dict[str, Any]


def document() -> Schema:
    """The OpenAPI 3.1 description of what `server` answers."""
    number = _parameter("number", "path", "The number of a picture, from 0.")
    side = _parameter("side", "query", "Which run, from 0, where two are served.", default=0, maximum=1)
    k = _parameter("k", "query", "How many neighbours.", default=12, maximum=100)
    paths = {
        "/health": {"get": _does("That the server is well", {"status": _TEXT, "pictures": _WHOLE, "encoder": _YES})},
        "/api/pictures/{number}": {"get": _does("What is known of a picture", _PICTURE, [number])},
        "/api/pictures/{number}/neighbours": {
            "get": _does("The pictures nearest to a picture, best first", _NEIGHBOURS, [number, side, k])
        },
        "/api/encode": {
            "post": {
                **_does("Vector, neighbours and class of a picture", _ENCODED, [side, k], _ERRORS),
                "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {}}}},
            }
        },
        "/api/labels": {
            "get": _answers("labels.csv: path, label and, where it is known, split", "text/csv", {"type": "string"}),
            "post": {
                **_does('Give pictures a label; "" takes it away', {"labelled": _WHOLE, "file": _TEXT}),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _object({"ids": _list(_WHOLE), "label": _TEXT})}},
                },
            },
        },
        "/thumbnails/{number}": {"get": {**_answers("A small picture", "image/jpeg", {}), "parameters": [number]}},
        "/pictures/{number}": {"get": {**_answers("A larger picture", "image/jpeg", {}), "parameters": [number]}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Selfsight", "version": version("selfsight"), "summary": "An image encoder and its index."},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],  # where the server is bound to this machine only, there is no token
    }


_ERRORS = {
    "408": "The body took too long.",
    "413": "The body is too large.",
    "415": "The body is no picture that can be read.",
    "429": "Too many pictures are waiting; Retry-After says when to come back.",
}
_WHOLE, _NUMBER, _YES = {"type": "integer", "minimum": 0}, {"type": "number"}, {"type": "boolean"}
_TEXT, _MAYBE = {"type": "string"}, {"type": ["string", "null"]}
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


def _answers(summary: str, kind: str, schema: Schema) -> Schema:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {"schema": schema}}}}}


def _does(
    summary: str, schema: Schema, parameters: list[Schema] | None = None, errors: dict[str, str] | None = None
) -> Schema:
    made = _answers(summary, "application/json", schema if "type" in schema else _object(schema))
    made["responses"] |= {code: {"description": text} for code, text in (errors or {}).items()}
    return {**made, "parameters": parameters} if parameters else made
