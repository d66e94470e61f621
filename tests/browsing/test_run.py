"""The command itself: where it listens, how it ends, what it says when it cannot."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from selfsight import cli
from selfsight.browsing.run import address, bound
from selfsight.errors import RunError


def test_a_port_in_use_gives_way_to_the_next() -> None:
    with bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bound("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] <= port + 50
    with pytest.raises(RunError, match="--port 70000 cannot be"):
        bound("127.0.0.1", 70000)
    with pytest.raises(RunError, match=r"--host 192\.0\.2\.1 with --port"):
        bound("192.0.2.1", 8899)
    assert address("::1", 80, "x") == "http://[::1]:80/?token=x"
    for every in ("0.0.0.0", "::", ""):
        assert address(every, 80, "x") == f"http://{socket.gethostname()}:80/?token=x"


def runs(process: str) -> bool:
    """Whether it is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_says_where_and_ends_in_good_order(browsed: Path, ending: signal.Signals) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        words = [sys.executable, "-m", "selfsight", "browse", browsed, "--port", str(port)]
        server = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            assert re.fullmatch(rf"Port {port} is in use; \d+ is free\.\n", server.stdout.readline())
            told = server.stdout.readline()
            assert told.startswith("64 pictures: http://127.0.0.1:")
            for path, holds in (("health", b'"status":"ok"'), ("thumbnails/0", b"JFIF")):
                with urlopen(told.split()[2] + path) as answer:
                    assert holds in answer.read()
            tasks = Path(f"/proc/{server.pid}/task").glob("*/children")  # of each thread its own
            decoders = [child for task in tasks for child in task.read_text().split()]
        finally:
            server.send_signal(ending)
        out, error = server.communicate(timeout=60)
    assert (server.returncode, out, error) == (0, "The server has ended.\n", "")
    assert decoders
    end = time.monotonic() + 30
    while any(map(runs, decoders)):
        assert time.monotonic() < end, "a decoder is left"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("browse nowhere", "'nowhere' does not exist"),
        ("browse {run} {run} --export {run}", "holds something else; give --export a new or an empty folder"),
        ("browse {run} --map umsp", "umap"),
        ("browse {run} --port 99999", "--port 99999 cannot be"),
    ],
)
def test_what_cannot_be_is_a_sentence(browsed: Path, capsys: pytest.CaptureFixture[str], line: str, says: str) -> None:
    assert cli.main(line.format(run=browsed).split()) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
