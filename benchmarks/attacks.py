"""What do hostile requests get out of the server of `browse`? (reliability, R23)

    python benchmarks/attacks.py [--json FILE] [--table]

The requests are those of tests/browsing/test_attacks.py, sent as raw bytes to a server of an index: paths that climb,
foreign hosts and origins, odd and large heads, bodies that are none. Counted are answers of 500 and above, answers with
a file's contents or the place of one in them, and requests that got no answer at all. And how long others wait while
64 bodies come slowly and 900 connections hold the line.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fuzz
import machine

RESULTS = Path(__file__).with_name("results") / "http.json"
TESTS = Path(__file__).resolve().parents[1] / "tests"
CANARY = "CANARY-7f3a"
BAD = ("faults", "leaks", "places")  # what no answer may be or hold
SLOW, SILENT, ASKED = 64, 900, 50  # connections; requests of others


def classes(tests: Any) -> dict[str, list[bytes]]:
    """The attacks, by what they try."""

    def given(test: Any, which: int = 0) -> list[Any]:
        return list(test.pytestmark[which].args[1])

    say = tests.request
    paths = [f"{one}{dots * depth}canary.txt" for one in tests.PREFIXES for dots in tests.DOTS for depth in (1, 4)]
    paths += [f"{one}{dots * 8}etc/passwd" for one in tests.PREFIXES for dots in tests.DOTS]
    origins = [{"origin": "http://evil.example"}, *given(tests.test_another_site_changes_nothing)]
    label = b'{"ids": [0], "label": "x"}'
    json_kind = "Content-Type: application/json\r\n"

    def posted(path: str, more: str, body: bytes) -> bytes:
        return say(path, method="POST", more=f"{more}Content-Length: {len(body)}\r\n") + body

    return {
        "paths that climb": [say(path) for path in paths],
        "other paths": [say(path) for path in tests.OTHERS],
        "foreign hosts": [say("/data/collection", host) for host in given(tests.test_another_name_is_not_answered)],
        "foreign origins": [
            posted("/api/labels", json_kind + "".join(f"{name}: {value}\r\n" for name, value in one.items()), label)
            for one in origins
        ],
        "labels that are none": [posted("/api/labels", json_kind, body) for body in given(tests.test_hostile_labels)],
        "bodies of other kinds": [
            posted(path, f"Content-Type: {head}\r\n", body)
            for head, body in given(tests.test_bodies_of_other_kinds, 1)
            for path in given(tests.test_bodies_of_other_kinds, 0)
        ],
        "large and odd heads": [
            say("/", more="X-Long: " + "a" * 100_000 + "\r\n"),
            say("/", more="".join(f"X-{number}: {number}\r\n" for number in range(2000))),
            say("/api/encode", method="POST", more="Content-Length: 50000000000\r\n") + b"abc",
            say("/api/encode", method="POST", more="Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")
            + b"0\r\n\r\n",
            say("/pictures/0", more="Range: bytes=" + ",".join(f"{number}-" for number in range(1000)) + "\r\n"),
            *(say("/health", method=method) for method in ("TRACE", "DELETE", "CONNECT", "PROPFIND")),
            say("http://169.254.169.254/latest/"),
            say("/", more="Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n"),
        ],
    }


def sent(port: int, raw: bytes) -> bytes:
    """What comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        parts = []
        try:
            line.sendall(raw)
            while part := line.recv(65536):
                parts.append(part)
        except (ConnectionError, TimeoutError):
            pass
        return b"".join(parts)


def counted(port: int, requests: Iterable[bytes], home: Path) -> dict[str, int]:
    """What a class of attacks got."""
    secrets = [word.encode() for word in (CANARY, "root:", "Traceback", "site-packages", "PATH=")]
    found = dict.fromkeys(("sent", "unanswered", "faults", "leaks", "places"), 0)
    for raw in requests:
        answer = sent(port, raw)
        head = answer.partition(b"\r\n\r\n")[0]
        found["sent"] += 1
        found["unanswered"] += not answer
        found["faults"] += answer[9:10] == b"5"
        found["leaks"] += any(secret in answer for secret in secrets) or b"evil" in head.lower()
        found["places"] += str(home).encode() in answer
    return found


def waited(port: int) -> float:
    """The longest that one of others waits for an answer, seconds."""
    longest = 0.0
    for number in range(ASKED):
        began = time.perf_counter()
        target = ("/health", "/thumbnails/1", "/api/pictures/1/neighbours")[number % 3]
        answer = sent(port, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
        longest = max(longest, time.perf_counter() - began)
    return round(longest, 3)


@contextmanager
def held(port: int, count: int, said: bytes) -> Iterator[None]:
    """Connections that say this and no more."""
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for line in lines:
        line.sendall(said)
    yield
    for line in lines:
        line.close()


def measured() -> dict[str, Any]:
    """All figures."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))  # this process holds both ends
    sys.path[:0] = [str(TESTS), str(TESTS / "browsing")]
    import test_attacks

    fuzz.fresh(fuzz.HOME)
    (fuzz.HOME / "canary.txt").write_text(CANARY)
    port = fuzz.serving(fuzz.HOME / "index")
    found: dict[str, Any] = {name: counted(port, some, fuzz.HOME) for name, some in classes(test_attacks).items()}
    body = b"POST /api/encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc"
    waits = {"nobody else": waited(port)}
    with held(port, SLOW, body):
        waits[f"{SLOW} slow bodies"] = waited(port)
    with held(port, SILENT, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
        waits[f"{SILENT} half heads"] = waited(port)
    return {"attacks": found, "waits": waits}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| attack | sent | 500 and above | contents given away | places given away | unanswered |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in found["attacks"].items():
        lines.append(
            "| "
            + " | ".join([name, *(str(row[one]) for one in ("sent", "faults", "leaks", "places", "unanswered"))])
            + " |"
        )
    lines += ["", "| beside | longest wait of 50 requests, s |", "|---|---|"]
    lines += [f"| {name} | {seconds:.3f} |" for name, seconds in found["waits"].items()]
    return "\n".join(lines)


def promises(found: dict[str, Any]) -> dict[str, str]:
    """What was found says of promises, for docs/reliability.md."""
    sent, *bad = (sum(one[key] for one in found["attacks"].values()) for key in ("sent", *BAD))
    return {"R23": "{} hostile requests: {} answers of 500 or above, {} leaks, {} paths told".format(sent, *bad)}


def main() -> None:
    """Measure, keep and print; exit code 1 when one of them got something."""
    asked = machine.answered(machine.asks(__doc__, RESULTS))
    if asked.table:
        print(table(json.loads(asked.json.read_text())["http"]))
        return
    found = measured()
    machine.keep(asked.json, {"promises": promises(found), "http": found})
    print(table(found))
    sys.stdout.flush()
    os._exit(any(one[key] for one in found["attacks"].values() for key in BAD))  # the server's thread would go on


if __name__ == "__main__":
    main()
