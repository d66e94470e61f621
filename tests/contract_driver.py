"""`selfsight`, with the contract method in its registry, that can be told to die: KILL_AT=12 kills it after step 12.

KILL_AT=12s kills it in the middle of writing the checkpoint of step 12, KILL_AT=12a right after it is saved.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import selfsight.methods

selfsight.methods.__path__.append(str(Path(__file__).parent / "contract"))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(at: str) -> None:
    """Put the fault in place."""
    from selfsight import checkpoints
    from selfsight.training.loop import Trainer

    step, moment = int(at.rstrip("sa")), at[-1]
    after, save, into_place = Trainer.after, Trainer.save, checkpoints._into_place

    def dying_after(self: Trainer, done: int, signals: object) -> None:
        if done == step and moment.isdigit() and self.folder.parent.name != "stages":
            die()
        after(self, done, signals)

    def dying_save(self: Trainer, done: int, **options: bool) -> None:
        save(self, done, **options)
        if done == step and moment == "a" and self.folder.parent.name != "stages":
            die()

    def dying_in_place(partial: Path, final: Path) -> None:
        if moment == "s" and final.name == f"step-{step:08d}" and "stages" not in final.parts:
            die()
        into_place(partial, final)

    Trainer.after, Trainer.save, checkpoints._into_place = dying_after, dying_save, dying_in_place


if __name__ == "__main__":
    if os.environ.get("KILL_AT"):
        arm(os.environ["KILL_AT"])
    from selfsight.__main__ import main

    sys.exit(main())
