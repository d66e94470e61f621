"""One rank of a run by the command line, in a process of its own; it may be told to die."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import contract_driver


def run(rank: int, port: int, words: list[str], said: Path, kill_at: str | None) -> None:
    """`selfsight WORDS` as rank `rank` of two on two machines, in the plain variables that any launcher sets."""
    numbers = {"RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in {**numbers, **place}.items()})
    with open(said, "w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        contract_driver.run(words, kill_at)
