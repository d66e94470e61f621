"""What a hostile client, or a hostile page in the reader's browser, can get: nothing (reliability, R23)."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from browsing_parts import Running, server_of
from starlette.testclient import TestClient

from selfsight.browsing import run
from selfsight.browsing.collection import Collection, gather
from selfsight.browsing.guard import hostname
from selfsight.searching.index import Index

CANARY = "CANARY-7f3a"
DOTS = (
    "../", "..\\", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%5c", "%2e%2e%5c", "%252e%252e%252f", "..%252f", "....//",
    "..;/", "%c0%ae%c0%ae/", "%u002e%u002e/", ".%00./", "..%00/", "..%0d/", "..%ff/", "%2e%2e;/", "./../", "..//",
    "/..//../", "..%c0%af",
)  # fmt: skip
PREFIXES = ("/", "/pictures/", "/thumbnails/", "/page/", "/data/", "/api/pictures/")
OTHERS = (
    "/etc/passwd", "//etc/passwd", "/page//etc/passwd", "/pictures//etc/passwd", "/file:///etc/passwd", "/%00",
    "/pictures/1%00.png", "/pictures/-1", "/pictures/64", "/pictures/1e9", "/pictures/0x1", f"/pictures/{9**999}",
    "/thumbnails/1.jpg", "/thumbnails/%F0%9F%98%80", "/proc/self/environ", "/page/proc/self/environ", "/\\\\host\\a",
    "/data/points-0-../../x", "/data/points-9-pca", "/data/column-0-__class__", "/data/names-99999999",
    "/data/near-0-99999999999", "/data/_points-0", "//evil.example/", "/\\evil.example", "/%0d%0aSet-Cookie:%20x=1",
    "/page/main.js%0d%0aX-Evil:1", "/pictures/0?url=http://169.254.169.254/", "/api/encode?url=http://127.0.0.1/",
    "/pictures/0/../../../etc/passwd", "/index.html", "/.git/config", "/page/", "/page/%2e", "/docs", "/api/labels",
    *(f"{one}{'9' * 5000}" for one in ("/pictures/", "/thumbnails/", "/api/pictures/")),  # more than int() reads
    f"/api/pictures/{'9' * 5000}/neighbours",
)  # fmt: skip


def request(target: str, host: str = "127.0.0.1", method: str = "GET", more: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode("latin-1")


@pytest.fixture
def canary(browsed: Path) -> Path:
    """A file beside the run that nobody may see."""
    file = browsed.parent / "canary.txt"
    file.write_text(CANARY)
    return file


def harmless(answer: bytes, browsed: Path) -> int:
    """The status of an answer that gives nothing away."""
    head = answer.partition(b"\r\n\r\n")[0]
    status = int(head.split()[1])
    assert status < 500, answer[:300]
    for secret in (CANARY, "root:", str(browsed), str(browsed.parent), "site-packages", "Traceback", "PATH="):
        assert secret.encode() not in answer
    assert b"evil" not in head.lower()
    assert b"set-cookie" not in head.lower()
    assert b"location" not in head.lower()
    assert b"access-control" not in head.lower()
    if status == 200:
        assert b"nosniff" in head
    return status


def test_paths_lead_nowhere(running: Running, browsed: Path, canary: Path) -> None:
    targets = [f"{prefix}{dots * depth}canary.txt" for prefix in PREFIXES for dots in DOTS for depth in (1, 4)]
    targets += [f"{prefix}{dots * 8}etc/passwd" for prefix in PREFIXES for dots in DOTS[:8]]
    targets += [f"/pictures/{quote(str(canary), safe='')}", f"/page/{canary}"]
    assert len(targets) > 300
    for target in targets:
        assert harmless(running.say(request(target)), browsed) in (400, 404, 405), target
    for target in OTHERS:
        harmless(running.say(request(target)), browsed)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254", "0.0.0.0", "",
     "127.0.0.1@evil", "evil.example#127.0.0.1", "[::1", "127.0.0.1/evil", "localhost:80\\@evil.example"],
)  # fmt: skip
def test_another_name_is_not_answered(running: Running, browsed: Path, host: str) -> None:
    answer = running.say(request("/data/collection", host))
    assert harmless(answer, browsed) in (400, 421)
    assert b"china" not in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "LOCALHOST:80", "[::1]:1"])
def test_names_of_this_machine_are(running: Running, host: str) -> None:
    assert running.say(request("/health", host)).startswith(b"HTTP/1.1 200")


def test_two_hosts_are_none(running: Running, browsed: Path) -> None:
    assert harmless(running.say(request("/health", more="Host: evil.example\r\n")), browsed) in (400, 421)
    assert harmless(running.say(b"GET /health HTTP/1.0\r\n\r\n"), browsed) in (400, 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_changes_nothing(collection: Collection, tmp_path: Path, headers: dict[str, str]) -> None:
    client = TestClient(server_of(collection, tmp_path).app(), base_url="http://127.0.0.1:8000")
    answer = client.post("/api/labels", json={"ids": [0], "label": "x"}, headers=headers)
    assert answer.status_code == 403
    assert not (tmp_path / "labels.csv").exists()
    assert client.post("/api/labels", content='{"ids":[0],"label":"x"}').status_code == 415  # as a form could send
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client.post("/api/labels", json={"ids": [0], "label": "x"}, headers=own).status_code == 200
    proxied = own | {"origin": "https://pictures.example"}  # which the browser knows by another name
    assert client.post("/api/labels", json={"ids": [0], "label": "x"}, headers=proxied).status_code == 200
    own["content-type"] = "application/json"
    answer = client.post("/api/labels", content=bytes((8 << 20) + 1), headers=own)
    assert (answer.status_code, answer.json()["error"]) == (413, "That is too large: at most 8 MiB are taken.")


def test_the_page_may_load_its_own_parts_only(running: Running) -> None:
    head = running.say(request("/")).partition(b"\r\n\r\n")[0].decode().lower()
    policy = head.partition("content-security-policy: ")[2].partition("\r\n")[0]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "server:" not in head


def test_a_token_where_others_can_reach_it(collection: Collection, tmp_path: Path) -> None:
    server = server_of(collection, tmp_path)
    client = TestClient(server.app("0.0.0.0", "secret"), base_url="http://192.168.0.7:8899", follow_redirects=False)
    for path in ("/", "/health", "/data/collection", "/thumbnails/0", "/?token=wrong", "/health?token=secret"):
        assert client.get(path).status_code == 401
    assert client.get("/health", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/health", headers={"authorization": b"Bearer \xe9"}).status_code == 401
    assert client.get("/health", headers={"authorization": "Bearer secret"}).status_code == 200
    answer = client.get("/?token=secret")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=lax" in answer.headers["set-cookie"].lower()
    assert client.get("/data/collection").status_code == 200  # by the cookie
    other = server.app("0.0.0.0", "another")  # on the same machine: its cookie comes along
    beside = TestClient(other, "http://192.168.0.7:8900", cookies=client.cookies, follow_redirects=False)
    assert beside.get("/health").status_code == 401
    assert beside.get("/?token=another").status_code == 303
    client.cookies.update(beside.cookies)
    assert {client.get("/health").status_code, beside.get("/health").status_code} == {200}
    assert client.get("/health", headers={"host": f"{socket.gethostname()}:8899"}).status_code == 200
    answer = client.get("/health", headers={"host": "evil.example"})
    assert (answer.status_code, "use its IP address" in answer.json()["error"]) == (421, True)


def test_hosts_are_read_as_browsers_write_them() -> None:
    names = [hostname(one) for one in ("a:1", "[::1]:2", "A", "u@a", "a/b", "[::1", "")]
    assert names == ["a", "::1", "a", "", "", "", ""]


def test_large_and_odd_requests(running: Running, browsed: Path) -> None:
    post = "POST /api/encode HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    for raw, statuses in {
        request("/", more="X-Long: " + "a" * 100_000 + "\r\n"): (200, 400, 431),
        request("/", more="".join(f"X-{n}: {n}\r\n" for n in range(2000))): (200, 400, 431),
        f"{post}Content-Length: 50000000000\r\n\r\nabc".encode(): (413,),
        f"{post}Content-Length: -1\r\n\r\n".encode(): (400, 413),
        f"{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(): (400, 415),
        f"{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(): (400,),
        request("/pictures/0", more="Range: bytes=" + ",".join(f"{n}-" for n in range(1000)) + "\r\n"): (200,),
        request("/health", method="TRACE"): (400, 405),
        request("/health", method="DELETE"): (405,),
        request("http://169.254.169.254/latest/"): (400, 404),
    }.items():
        answer = running.say(raw)
        assert answer, raw[:80]
        assert harmless(answer, browsed) in statuses, raw[:80]
    assert running.say(b"\x16\x03\x01\x02\x00\x01\x00" + bytes(200)).startswith((b"HTTP/1.1 400", b""))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"ids": 1, "label": "x"}', b'{"ids": [-1], "label": "x"}',
        b'{"ids": [64], "label": "x"}', b'{"ids": [true], "label": "x"}', b'{"ids": [0.5], "label": "x"}',
        b'{"ids": ["/etc/passwd"], "label": "x"}', b'{"ids": [0], "label": 1}', b'{"ids": [0], "label": "a\\u0000b"}',
        b'{"ids": [0], "label": "\\ud800"}', b'{"ids": [0], "label": "' + b"a" * 201 + b'"}', b"[" * 100_000,
        b'{"ids": [0], "label": "two\\nlines"}', b"\xff\xfe", b'{"ids": {"0": 1}, "label": "x"}',
    ],
)  # fmt: skip
def test_hostile_labels(running: Running, browsed: Path, body: bytes) -> None:
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    answer = running.say(request("/api/labels", method="POST", more=more) + body)
    assert harmless(answer, browsed) == 400
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error"}


def test_slow_clients_keep_nobody_waiting(running: Running) -> None:
    slow = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(64)]
    for connection in slow:
        connection.sendall(b"POST /api/encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc")
    assert running.say(request("/health"), patience=20).startswith(b"HTTP/1.1 200")  # theirs have 30 seconds
    for connection in slow:
        connection.close()


def test_more_than_there_is_room_for_is_sent_away_before_it_is_read(running: Running) -> None:
    head = request("/api/encode", method="POST", more=f"Content-Length: {32 << 20}\r\n")
    slow = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(16)]
    for connection in slow:
        connection.sendall(head)
    assert any(running.say(head, patience=0.5).startswith(b"HTTP/1.1 429") for _ in range(40))
    for connection in slow:
        connection.close()
    encoders = running.server.encoders
    while encoders is not None and encoders._now:
        time.sleep(0.02)


def test_who_says_nothing_is_hung_up_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 that hold the line, with nothing or half a head; others are answered, and later the lines are free again."""
    monkeypatch.setattr(run, "PATIENCE", 0.5)
    silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(300)]
    for number, connection in enumerate(silent):
        connection.sendall((b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")[number % 3])
    assert running.say(request("/health")).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    for connection in silent:
        connection.settimeout(30)
        assert connection.recv(1000).partition(b" ")[2][:3] in (b"", b"400")
        connection.close()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="../x"; filename="../x"\r\n\r\nz',
        ),
        ("multipart/form-data", b"--\r\n\r\n"),
        ("multipart/form-data; boundary=" + "a" * 5000, b"--" + b"a" * 5000 + b"--"),
        ('multipart/mixed; boundary="', b"\0" * 100),
        ("application/x-www-form-urlencoded", b"ids=0&label=x&a[b][c]=" + b"%00" * 100),
        ("text/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
        ("image/svg+xml", b"<svg onload=alert(1)>"),
        ("application/json; charset=utf-7", b"+AHsAIg-"),
    ],
)
@pytest.mark.parametrize("path", ["/api/encode", "/api/labels"])
def test_bodies_of_other_kinds(running: Running, browsed: Path, path: str, head: str, body: bytes) -> None:
    more = f"Content-Type: {head}\r\nContent-Length: {len(body)}\r\n"
    assert harmless(running.say(request(path, method="POST", more=more) + body), browsed) in (400, 415)


def test_an_index_of_a_stranger_reads_no_other_files(browsed: Path, tmp_path: Path, canary: Path) -> None:
    """Files that are no pictures, links, pipes and devices give the placeholder, whatever the index says."""
    shutil.copytree(browsed / "embeddings", tmp_path / "index", ignore=shutil.ignore_patterns("browse"))
    index = Index.open(browsed)
    link = tmp_path / "link.png"
    link.symlink_to("/etc/passwd")
    files = ["/etc/passwd", str(canary), str(link), "/dev/zero", "/proc/self/environ", "../../etc/passwd", "", "/tmp"]
    for start in range(0, 64, len(files)):
        index.paths[start : start + len(files)] = files
    client = TestClient(server_of(gather([index]), tmp_path).app(), base_url="http://localhost")
    shown = {client.get(f"/{kind}/{number}").content for kind in ("pictures", "thumbnails") for number in range(64)}
    assert len(shown) == 1
    assert shown.pop().startswith(b"\xff\xd8")
