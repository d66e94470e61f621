"""The API for other programs: what it answers is what the encoder says, in the words of its own description."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing_parts import server_of
from starlette.testclient import TestClient

import selfsight
from selfsight.browsing.collection import Collection, gather
from selfsight.browsing.encoding import Busy, Encoders
from selfsight.browsing.openapi import document
from selfsight.data import source
from selfsight.data.tables import read_columns
from selfsight.errors import AddressError, ImageError
from selfsight.searching.index import Index

JSON = "application/json"


@pytest.fixture
def client(collection: Collection, tmp_path: Path) -> Any:
    with TestClient(server_of(collection, tmp_path, decoders=1).app(), base_url="http://localhost") as started:
        yield started


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """A small validator: the kinds of JSON schema that our description uses."""
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if allowed == ["array"]:
        return isinstance(value, list) and all(fits(one, schema["items"]) for one in value)
    if allowed == ["object"]:
        known = schema["properties"]
        return set(schema["required"]) <= set(value) <= set(known) and all(fits(value[n], known[n]) for n in value)
    return isinstance(value, tuple(kinds[one] for one in allowed))


def schema_of(path: str, method: str = "get") -> dict[str, Any]:
    return document()["paths"][path][method]["responses"]["200"]["content"][JSON]["schema"]


def test_answers_are_as_described(client: TestClient, collection: Collection) -> None:
    assert client.get("/openapi.json").json() == document()
    assert client.get("/health").json() == {"status": "ok", "pictures": 64, "encoder": True}
    assert fits(client.get("/health").json(), schema_of("/health"))
    facts = client.get("/api/pictures/40").json()
    assert facts["name"] == collection.names[40]
    for method, path, asked in (
        ("get", "/api/pictures/{number}", "/api/pictures/64"),
        ("get", "/api/pictures/{number}/neighbours", "/api/pictures/1/neighbours?k=101"),
        ("post", "/api/labels", "/api/labels"),
        ("post", "/api/encode", "/api/encode?side=1"),
        ("post", "/api/encode", "/api/encode"),
    ):
        told = document()["paths"][path][method]
        answer = client.request(method, asked)
        assert fits(answer.json(), told["responses"][str(answer.status_code)]["content"][JSON]["schema"])
    [side] = [one for one in told["parameters"] if one["name"] == "side"]
    assert side["schema"]["maximum"] == 0
    assert fits(facts, schema_of("/api/pictures/{number}"))
    near = client.get("/api/pictures/40/neighbours?k=5").json()
    assert len(near) == 5
    assert fits(near, schema_of("/api/pictures/{number}/neighbours"))
    assert 40 not in [one["id"] for one in near]
    for path, methods in document()["paths"].items():
        for method in methods:
            address = path.replace("{number}", "1")
            assert client.request(method, address).status_code not in (404, 405), path


def test_a_picture_in_and_what_the_encoder_says_out(client: TestClient, collection: Collection) -> None:
    path = collection.paths[40]
    answer = client.post("/api/encode?k=3", content=Path(path).read_bytes()).json()
    assert fits(answer, schema_of("/api/encode", "post"))
    np.testing.assert_allclose(answer["embedding"], collection.sides[0].index.embed(path), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(answer["embedding"], collection.sides[0].vectors[40], rtol=1e-3, atol=1e-4)
    assert answer["neighbours"][0] == {"id": 40, "score": 1.0}
    model = collection.sides[0].classifier
    assert model is not None
    chances = model.probabilities(collection.sides[0].vectors[40:41])[0]
    told = {one["class"]: one["confidence"] for one in answer["classes"]}
    assert told == pytest.approx(dict(zip(model.classes, chances, strict=True)), abs=1e-3)
    scores, rows = collection.sides[0].index.nearest(np.float32([answer["embedding"]]), 3)
    assert [one["id"] for one in answer["neighbours"]] == rows[0].tolist()
    assert [one["score"] for one in answer["neighbours"]] == pytest.approx(scores[0].tolist(), abs=1e-3)
    assert client.post("/api/encode?k=0", content=Path(path).read_bytes()).json()["neighbours"] == []


@pytest.mark.parametrize("sent", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff" + bytes(9)])
def test_what_is_no_picture_is_refused_in_a_sentence(client: TestClient, sent: bytes) -> None:
    answer = client.post("/api/encode", content=sent)
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("That is no picture that can be read: ")


@pytest.mark.parametrize("query", ["k=-1", "k=101", "k=1e1", "k=²", "side=1", "k=" + "9" * 400])
def test_numbers_that_cannot_be(client: TestClient, query: str) -> None:
    assert client.post(f"/api/encode?{query}", content=b"x").status_code == 400


@pytest.mark.parametrize("kind", ["thumbnails", "pictures"])
@pytest.mark.parametrize("error", [AddressError("nothing answers"), ImageError("a.png", "missing")])
def test_a_picture_that_is_not_there_now_may_be_later(client: TestClient, kind: str, error: Exception) -> None:
    def away(path: str) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsight.browsing.pictures.decode", away)
        first = client.get(f"/{kind}/5")
    then = client.get(f"/{kind}/5")
    assert [(one.status_code, one.headers["content-type"]) for one in (first, then)] == [(200, "image/jpeg")] * 2
    assert first.headers["cache-control"] == "no-store"
    assert "immutable" in then.headers["cache-control"]
    assert first.content != then.content


def test_more_than_can_wait_is_sent_away(collection: Collection, tmp_path: Path) -> None:
    with TestClient(server_of(collection, tmp_path, decoders=1, waiting=0).app(), base_url="http://localhost") as busy:
        answer = busy.post("/api/encode", content=b"x")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_many_at_once_get_each_their_own(collection: Collection) -> None:
    """Batches mix pictures; no answer is another's. Beyond what may wait, Busy."""
    encoders = Encoders(collection, decoders=1, waiting=40)
    data = [Path(path).read_bytes() for path in collection.paths]

    async def ask_all() -> list[Any]:
        async def ask(one: bytes) -> bytes:
            with encoders.place(len(one)):
                return await encoders.ask(0, one, 1)

        answers = await asyncio.gather(*map(ask, data), return_exceptions=True)
        await encoders.close()
        return answers

    answers = asyncio.run(ask_all())
    assert [type(one) for one in answers[40:]] == [Busy] * 24
    for number, answer in enumerate(answers[:40]):
        told = json.loads(answer)["embedding"]
        np.testing.assert_allclose(told, collection.sides[0].vectors[number], rtol=1e-2, atol=1e-3)


def test_an_index_that_is_replaced_while_it_is_served_stays_what_it_was(browsed: Path, tmp_path: Path) -> None:
    """Whoever opened the old one goes on with all of it; whoever opens it now has the new one. Never a mixture."""
    index, photos = tmp_path / "index", browsed.parent / "photos"
    selfsight.embed(browsed, photos, out=index)
    served = gather([Index.open(index)])
    sent = Path(served.paths[40]).read_bytes()
    with TestClient(server_of(served, tmp_path, decoders=1).app(), base_url="http://localhost") as client:

        def told() -> list[Any]:
            pages = ("api/pictures/40", "api/pictures/40/neighbours", "data/near-0-0", "thumbnails/40")
            return [client.get(page).content for page in pages] + [client.post("api/encode", content=sent).content]

        before = told()
        selfsight.embed(browsed, photos / "flower", out=index)
        assert told() == before
        assert client.get("/data/points-0-pca").status_code == 200  # computed only now
    assert len(Index.open(index)) == 32
    assert len(gather([Index.open(index)])) == 32


def test_labels_make_a_table_that_can_be_learned_from(
    client: TestClient, collection: Collection, browsed: Path, tmp_path: Path
) -> None:
    label = '<i>"=odd"</i>, \N{HEBREW LETTER ALEF}'
    assert client.post("/api/labels", json={"ids": [0, 1, 2, 40, 41], "label": label}).json()["labelled"] == 64
    assert client.post("/api/labels", json={"ids": [3], "label": " "}).json() == {"labelled": 63, "file": "labels.csv"}
    file = tmp_path / "labels.csv"
    told = [*csv.DictReader(io.StringIO(client.get("/api/labels").text, newline=""))]
    assert [int(row["id"]) for row in told] == [*range(64)]
    assert [row["label"] or None for row in told[:5]] == [label, label, label, None, "china"]
    assert [row["split"] for row in told] == collection.splits
    assert told[40]["name"] == collection.names[40]
    listing = source.find(file)
    given = dict(zip(listing.paths, listing.labels, strict=True))
    assert [given[path] for path in collection.paths[:5]] == [label, label, label, None, "china"]
    parts = dict(zip(listing.paths, listing.splits, strict=True))
    assert [parts[path] for path in collection.paths] == collection.splits
    assert set(read_columns(file)) == {"path", "label", "split"}
    again = server_of(collection, tmp_path)
    assert again.payloads.labels.given[:5] == [label, label, label, None, "china"]
    run = shutil.copytree(browsed, tmp_path / "run")  # its classifier is another one afterwards
    selfsight.classify(run, str(Path(collection.paths[0]).parent), labels=str(file), out=tmp_path / "named.csv")
    assert set(read_columns(tmp_path / "named.csv")["prediction"]) <= {label, "china", "flower", None}
