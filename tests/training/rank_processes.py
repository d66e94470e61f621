"""One rank of a run by the command line, in a process of its own; it may be told to die, or to stand still."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import contract_driver

from selfsight import distributed


def run(rank: int, port: int, words: list[str], said: Path, lost_at: str | None, patience: float | None) -> None:
    """`selfsight WORDS` as rank `rank` of two on two machines, in the plain variables that any launcher sets.

    With `patience`, the seconds that ranks wait for each other, it stands still where it would die.
    """
    if patience is not None:
        distributed.STEP_PATIENCE = timedelta(seconds=patience)
        contract_driver.die = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    numbers = {"RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in {**numbers, **place}.items()})
    with open(said, "w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        contract_driver.run(words, lost_at)
