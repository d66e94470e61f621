"""One rank of a run by the command line, in a process of its own; something may go wrong with it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import contract_driver
import numpy as np

from selfsight import checkpoints, distributed
from selfsight.data.loader import Loader
from selfsight.data.manifest import Manifest
from selfsight.errors import AddressError
from selfsight.training import ranks
from selfsight.training.loop import Trainer

LATE = 6.0  # seconds, more than the patience that tests ask for
CALM = 4  # steps after which ranks have no more than that: before, a busy machine may hold one up


def run(rank: int, port: int, words: list[str], said: Path, fault: str | None, patience: float | None) -> None:
    """`selfsight WORDS` as rank `rank` of two on two machines, in the plain variables that any launcher sets.

    `fault` is the step at which it dies, or what `FAULTS` has. `patience` are the seconds that ranks wait for each
    other, where those are few.
    """
    if patience is not None:
        impatient(timedelta(seconds=patience))
    numbers = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in numbers.items()})
    socket.gethostname = lambda: f"machine-{rank}"
    name, _, step = (fault or "").rpartition(" ")
    if name:
        FAULTS[name](int(step))
    with open(said, "w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        contract_driver.run(words, step if name in ("", "still", "late") else None)


def impatient(patience: timedelta) -> None:
    """Ranks that have begun to train wait no longer for each other."""
    honest = Trainer.after

    def after(self: Trainer, step: int, signals: Any) -> None:
        if step >= CALM:
            distributed.STEP_PATIENCE = patience
        honest(self, step, signals)

    Trainer.after = after  # type: ignore[method-assign]


def still(step: int) -> None:
    """It stands still there, and all its threads: what was saved until then is on the disk."""
    honest = Trainer.save

    def save(self: Trainer, done: int, **options: Any) -> None:
        honest(self, done, **options)
        self.saver.look(wait=True)

    Trainer.save = save  # type: ignore[method-assign]
    contract_driver.die = lambda: os.kill(os.getpid(), signal.SIGSTOP)


def late(step: int) -> None:
    """It takes long over that step, and lives."""
    contract_driver.die = lambda: time.sleep(LATE)


def away(step: int) -> None:
    """Its pictures are out of reach after that step."""
    honest = Loader.collate

    def collate(self: Loader, indices: np.ndarray, first: int) -> Any:
        if first // 8 >= step:
            raise AddressError("'s3://bucket' cannot be reached")
        return honest(self, indices, first)

    Loader.collate = collate  # type: ignore[method-assign]


def harmed(files: int) -> None:
    """So many of its files are cut after they were listed, and none was decoded before."""
    os.environ["SELFSIGHT_CACHE"] = "/proc/nowhere"
    honest = ranks.agreed

    def agreed(*given: Any) -> Manifest:
        own = honest(*given)
        for row in own.train_rows()[:files]:
            Path(own.paths[row]).write_bytes(b"")
        return own

    ranks.agreed = agreed


def slow(step: int) -> None:
    """Its disk is slow to take that step."""
    honest = checkpoints.write

    def write(folder: Path, number: int, *given: Any) -> Path:
        time.sleep(LATE * (number == step))
        return honest(folder, number, *given)

    checkpoints.write = write


FAULTS = {"still": still, "late": late, "away": away, "harmed": harmed, "slow": slow}
